#ifndef LOWBIT_CORRECTIONS_EXPECTED_MOMENTS_H_
#define LOWBIT_CORRECTIONS_EXPECTED_MOMENTS_H_

#include <optional>
#include <string>
#include <vector>

#include "model/channel_moments.h"
#include "model/parameters.h"

namespace lowbit {

// What a layer is expected to put out, by channel, before any image is seen.
struct ExpectedOutput {
  std::optional<std::vector<double>> mean;  // unset: not known, for the reason in `unknown`
  std::optional<std::vector<double>> std;   // unset: not known; never set without `mean`
  std::string unknown;                      // "it reads "pool" (MaxPool)"
};

// Of relu(x) for x normal with this mean and standard deviation (Nagel et al. 2019, arXiv 1906.04721, appendix C):
//   E[relu(x)]   = std phi(a) + mean Phi(a),                 a = mean / std
//   E[relu(x)^2] = (mean^2 + std^2) Phi(a) + mean std phi(a)
// With std = 0 it is relu(mean) and 0.
ChannelMoments ClippedNormal(const ChannelMoments& x);

// Of each layer of the graph, by index:
//   a layer with entries in `moments`  those: what its folded batch norm said
//   BatchNorm   bias, and |weight| sqrt(running_var / (running_var + eps))
//   Relu        ClippedNormal of its input, which is taken to be normal
//   Add         the means add up; so do the variances, as if the two were independent
//   Subsample, PadChannels, Flatten          channel by channel; what is padded is 0
//   GlobalAvgPool, AvgPool without padding   the mean stays; the standard deviation is not known
//   Conv2d without padding, Linear           mean = weight * mean of the input + bias, without a standard deviation
//   all others, the images too               not known
// Parameters must be those of the graph (CheckParameters).
std::vector<ExpectedOutput> ExpectedOutputs(const Model& model, const NetworkMoments& moments);

}  // namespace lowbit

#endif  // LOWBIT_CORRECTIONS_EXPECTED_MOMENTS_H_
