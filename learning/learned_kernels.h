#ifndef LOWBIT_LEARNING_LEARNED_KERNELS_H_
#define LOWBIT_LEARNING_LEARNED_KERNELS_H_

#include <cstdint>

namespace lowbit {

// The hot loops of quantization that is learned through (learned_fake_quantize.h). On one machine the result is always
// the same; between processors the sums may differ in their last bits.

// What is the same for all elements of a tensor.
struct LearnedGrid {
  float scale;
  float zero_point;
  float qmin;  // within +-2^16
  float qmax;
  float slack;  // gradients pass from qmin - slack to qmax + slack
  bool relu;    // negative inputs count as 0
};

// Which elements stay float: element i where a hash of (seed, i), 32 bits, is below `threshold`. 0: none.
struct RandomKeep {
  uint32_t threshold;
  uint32_t seed;

  // The hash is "lowbias32" of Chris Wellons' hash prospector.
  inline __attribute__((always_inline)) bool Keeps(uint32_t i) const {
    uint32_t x = i ^ seed;
    x ^= x >> 16;
    x *= 0x7feb352dU;
    x ^= x >> 15;
    x *= 0x846ca68bU;
    x ^= x >> 16;
    return x < threshold;
  }
};

// With r = relu ? max(x, 0) : x,
//   out[i] = kept ? r : FakeQuantizeValue(r)
// for i in [0, size); element i of the span is element `first` + i of the tensor. `in` and `out` do not overlap.
void LearnedFakeQuantizeSpan(const float* in, float* out, int64_t size, int64_t first, const LearnedGrid& grid,
                             const RandomKeep& keep);

// The way back (LSQ, Esser et al. 2020, arXiv 1902.08153): of the gradient g of `out`
//   grad_in[i] = g[i] where it was kept, or inside of the grid, and not cut off by the relu; else 0
// and returns the sum over all that were quantized of g[i] * d q(r) / d scale, which is
//   q - zero_point - (inside ? r / scale : 0).
double LearnedFakeQuantizeBackwardSpan(const float* in, const float* grad_out, float* grad_in, int64_t size,
                                       int64_t first, const LearnedGrid& grid, const RandomKeep& keep);

// out[i] = hash(seed, first + i) < threshold ? a[i] : b[i].
void MixSpan(const float* a, const float* b, float* out, int64_t size, int64_t first, const RandomKeep& keep);

// gradient[i] = factor * (x[i] - target[i]), and returns the sum of (x[i] - target[i])^2.
double SquaredErrorSpan(const float* x, const float* target, float factor, float* gradient, int64_t size);

}  // namespace lowbit

#endif  // LOWBIT_LEARNING_LEARNED_KERNELS_H_
