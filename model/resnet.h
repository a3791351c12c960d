#ifndef LOWBIT_MODEL_RESNET_H_
#define LOWBIT_MODEL_RESNET_H_

// Builders for residual networks of 32x32 colour images. Layers are named as in the common PyTorch code: input, conv1,
// bn1, relu, layer1.0.conv1, layer1.0.bn1, layer1.0.relu1, layer1.0.conv2, layer1.0.bn2, layer1.0.add, layer1.0.relu2,
// ..., avgpool, flatten, linear; shortcuts that are not the identity are layerS.0.shortcut.0, layerS.0.shortcut.1, so
// that PyTorch checkpoints of these networks load by name.

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"

namespace lowbit {

// What a block whose output is smaller and wider than its input adds to it (He et al. 2015, arXiv 1512.03385, 3.3).
enum class Shortcut {
  kOptionA,  // Every other pixel and zeros for the new channels, half of them on each side. No parameters.
  kOptionB,  // 1x1 convolution with stride and batch norm.
};

struct ResnetCifarOptions {
  int depth = 20;  // 6n + 2: 20, 32, 44, 56 or 110.
  Shortcut shortcut = Shortcut::kOptionA;
  int64_t num_classes = 10;
};

// The CIFAR networks of He et al. 2015 (arXiv 1512.03385, 4.2): 3x3 convolution to 16 channels, three stages of n basic
// blocks at 16, 32 and 64 channels, global average pool, linear. Depth 20 with option A: 269,722 parameters.
// InvalidArgument for another depth or num_classes < 1.
absl::StatusOr<Graph> BuildResnetCifar(const ResnetCifarOptions& options);

struct BasicBlockResnetOptions {
  std::vector<int> blocks = {2, 2, 3, 2};             // Basic blocks per stage.
  std::vector<int64_t> widths = {64, 128, 256, 512};  // Channels per stage. The first is the stem's too.
  int64_t stem_padding = 0;                           // Of the first, 3x3, convolution.
  int64_t final_pool = 4;                             // Side and stride of the average pool.
  int64_t num_classes = 10;
};

// A ResNet for 32x32 images with projection shortcuts (option B) and no max pool; stages after the first halve the
// image. The defaults are the network that the ptq_resnet20 project calls ResNet20.
// InvalidArgument for empty or unequally long lists, numbers < 1, or a pool larger than what it is given.
absl::StatusOr<Graph> BuildBasicBlockResnet(const BasicBlockResnetOptions& options);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_RESNET_H_
