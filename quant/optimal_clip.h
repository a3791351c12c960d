#ifndef LOWBIT_QUANT_OPTIMAL_CLIP_H_
#define LOWBIT_QUANT_OPTIMAL_CLIP_H_

namespace lowbit {

// Where to clip a bell-shaped tensor in closed form (ACIQ: Banner et al. 2018, arXiv 1810.05723).
//
// With magnitudes |x| distributed as below, clipped at c and rounded to steps of r * c, the mean squared error is about
//
//   E(c) = clip(c) + (r c)^2 / 12
//
// in units of the distribution's own scale, squared: what is clipped, and evenly distributed rounding errors. 2^bits
// codes from -c to c make r = 2 / (2^bits - 1), from 0 to c half that. (The paper counts 2^bits steps instead, which
// differs at low widths, and treats positive tensors as halves of symmetric ones, which comes to the same.)
enum class Bell {
  kLaplace,  // |x| exponential of mean 1:       clip(c) = 2 exp(-c)
  kGauss,    // |x| half-normal of deviation 1:  clip(c) = 2 ((1 + c^2) Q(c) - c phi(c)),  Q(c) = P(N(0, 1) > c)
};

// E(c).
double ClippedBellError(Bell bell, double c, double relative_step);

// The c > 0 at which E(c) is smallest, for relative_step in (0, 1]. E is convex, and its derivative 0 where
//
//   kLaplace:  c exp(c) = 12 / r^2
//   kGauss:    phi(c) - c Q(c) = (r^2 / 24) c
double OptimalClip(Bell bell, double relative_step);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_OPTIMAL_CLIP_H_
