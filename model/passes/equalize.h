#ifndef LOWBIT_MODEL_PASSES_EQUALIZE_H_
#define LOWBIT_MODEL_PASSES_EQUALIZE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/channel_moments.h"
#include "model/parameters.h"

namespace lowbit {

struct EqualizeOptions {
  int iterations = 20;     // Rounds over all pairs, at most; at least 1.
  double max_scale = 100;  // No channel is scaled by more, nor by less than the inverse; above 1.
};

// What became of one pair of layers. A channel's range is the largest |w| of what belongs to it: an output channel of
// the first layer, the input channels of the second that come from it. A spread is the largest range over the smallest,
// of channels that are not dead: what a scale for the whole tensor has to bear.
struct EqualizedPair {
  std::string first, second;
  double first_spread_before = 1, first_spread_after = 1;
  double second_spread_before = 1, second_spread_after = 1;
  double min_scale = 1, max_scale = 1;  // Of the channels' factors.
  int64_t channels = 0;                 // Of the first layer.
  int64_t dead = 0;                     // Channels with a range of 0 on either side. They are left alone.
  int64_t limited = 0;                  // Channels that max_scale held back.
};

struct EqualizeResult {
  Model model;
  NetworkMoments moments;             // Of the same layers as before.
  std::vector<EqualizedPair> pairs;   // In the graph's order; empty: nothing was done.
  std::vector<std::string> unpaired;  // As in WeightPairs.
  int iterations = 0;                 // Rounds done.
};

// Cross-layer equalization (Nagel et al. 2019, arXiv 1906.04721, 4.1). For each pair of layers that FindWeightPairs
// finds and each channel i between them, with ranges r1 and r2 on the two sides:
//   s[i] = sqrt(r1[i] r2[i]) / r1[i]
//   weight1[i] *= s[i],  bias1[i] *= s[i],  weight2[:, i] /= s[i],  moments of the first layer *= s[i]
// after which both ranges are sqrt(r1[i] r2[i]). Rounds over all pairs until the mean change |s - 1| of a round is
// below 1e-6. The network computes the same, up to rounding: factors are kept in double precision and applied to the
// float32 numbers once. Tensors of the given model are not changed; unchanged ones are shared. InvalidArgument as
// CheckParameters.
absl::StatusOr<EqualizeResult> Equalize(const Model& model, const NetworkMoments& moments,
                                        const EqualizeOptions& options = {});

struct AbsorbedBias {
  std::string first, second;
  int64_t channels = 0;     // Of the first layer, those with c > 0.
  double max_absorbed = 0;  // The largest c.
  bool bias_made = false;   // Whether the second layer had no bias before.
  bool pads_with_zeros =
      false;  // Whether what lies between, or the second layer, pads with zeros: then it is not exact there.
};

struct AbsorbResult {
  Model model;
  NetworkMoments moments;
  std::vector<AbsorbedBias> pairs;  // In the graph's order; those of which nothing is absorbed, too.
};

// High-bias absorption (the same paper, 4.1.3): what nearly every input adds to a channel before the ReLU moves on to
// the next layer's bias. For each pair with a ReLU between whose first layer has moments:
//   c[i] = max(0, mean[i] - 3 std[i]),  bias1[i] -= c[i],  mean[i] -= c[i],  bias2 += sum over inputs i and taps of
//   weight2 * c[i]
// relu(x - c) = relu(x) - c holds where x >= c, for 99.865 % of normal x. Where the second layer pads with zeros, the
// taps that fall outside saw 0 before and should see -c now, but see 0: its border pixels come out larger by
// these taps' share of what was added. The paper passes over that. The second layer of each pair gets a bias if it has
// none, so that the graph does not depend on the numbers. InvalidArgument as CheckParameters.
absl::StatusOr<AbsorbResult> AbsorbHighBiases(const Model& model, const NetworkMoments& moments);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_PASSES_EQUALIZE_H_
