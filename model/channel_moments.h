#ifndef LOWBIT_MODEL_CHANNEL_MOMENTS_H_
#define LOWBIT_MODEL_CHANNEL_MOMENTS_H_

#include <map>
#include <string>
#include <vector>

namespace lowbit {

// Mean and standard deviation of each channel of a tensor, over images and pixels. Both have one entry for each channel
// (each feature of a flat tensor).
struct ChannelMoments {
  std::vector<double> mean;
  std::vector<double> std;
};

// Of the outputs of layers, by layer name.
using NetworkMoments = std::map<std::string, ChannelMoments>;

}  // namespace lowbit

#endif  // LOWBIT_MODEL_CHANNEL_MOMENTS_H_
