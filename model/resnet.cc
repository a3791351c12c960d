#include "model/resnet.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace lowbit {
namespace {

constexpr int64_t kImageSide = 32;
constexpr int64_t kImageChannels = 3;

// Appends layers one after another; every method returns the index of the layer it added.
class Builder {
 public:
  int Append(std::string name, Op op, std::vector<int> inputs) {
    layers_.push_back({std::move(name), std::move(op), std::move(inputs)});
    return static_cast<int>(layers_.size()) - 1;
  }

  int ConvBatchNorm(const std::string& conv_name, std::string bn_name, const Conv2d& conv, int input) {
    const int y = Append(conv_name, conv, {input});
    return Append(std::move(bn_name), BatchNorm{conv.out_channels}, {y});
  }

  // Two 3x3 convolutions, the first with the stride, and a shortcut around them.
  int BasicBlock(const std::string& name, int x, int64_t in, int64_t out, int64_t stride, Shortcut shortcut) {
    int y = ConvBatchNorm(name + ".conv1", name + ".bn1", Conv3x3(in, out, stride, 1), x);
    y = Append(name + ".relu1", Relu{}, {y});
    y = ConvBatchNorm(name + ".conv2", name + ".bn2", Conv3x3(out, out, 1, 1), y);
    if (stride != 1 || in != out) x = ShortcutOf(name + ".shortcut", x, in, out, stride, shortcut);
    y = Append(name + ".add", Add{}, {y, x});
    return Append(name + ".relu2", Relu{}, {y});
  }

  // Blocks "layer<stage>.0", "layer<stage>.1", ...; the first takes the stride.
  int Stage(int stage, int blocks, int x, int64_t in, int64_t out, int64_t stride, Shortcut shortcut) {
    for (int block = 0; block < blocks; ++block) {
      const bool first = block == 0;
      x = BasicBlock(absl::StrCat("layer", stage, ".", block), x, first ? in : out, out, first ? stride : 1, shortcut);
    }
    return x;
  }

  int Stem(int64_t width, int64_t padding) {
    int x = Append("input", Input{kImageChannels, kImageSide, kImageSide}, {});
    x = ConvBatchNorm("conv1", "bn1", Conv3x3(kImageChannels, width, 1, padding), x);
    return Append("relu", Relu{}, {x});
  }

  void Head(Op pool, int x, int64_t features, int64_t num_classes) {
    x = Append("avgpool", std::move(pool), {x});
    x = Append("flatten", Flatten{}, {x});
    Append("linear", Linear{features, num_classes}, {x});
  }

  std::vector<Layer> TakeLayers() { return std::move(layers_); }

 private:
  static Conv2d Conv3x3(int64_t in, int64_t out, int64_t stride, int64_t padding) {
    Conv2d conv{in, out};
    conv.kernel = {3, 3};
    conv.stride = {stride, stride};
    conv.padding = {padding, padding};
    return conv;
  }

  int ShortcutOf(const std::string& name, int x, int64_t in, int64_t out, int64_t stride, Shortcut shortcut) {
    if (shortcut == Shortcut::kOptionA) {
      x = Append(name + ".0", Subsample{{stride, stride}}, {x});
      const int64_t before = (out - in) / 2;
      return Append(name + ".1", PadChannels{before, out - in - before}, {x});
    }
    Conv2d projection{in, out};
    projection.stride = {stride, stride};
    return ConvBatchNorm(name + ".0", name + ".1", projection, x);
  }

  std::vector<Layer> layers_;
};

absl::Status CheckNumClasses(int64_t num_classes) {
  if (num_classes >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("num_classes must be at least 1, got ", num_classes));
}

template <typename T>
absl::Status CheckPositive(absl::string_view what, const std::vector<T>& values) {
  if (std::all_of(values.begin(), values.end(), [](T value) { return value >= 1; })) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " must all be at least 1, got ", absl::StrJoin(values, ", ")));
}

}  // namespace

absl::StatusOr<Graph> BuildResnetCifar(const ResnetCifarOptions& options) {
  constexpr int kDepths[] = {20, 32, 44, 56, 110};
  if (std::find(std::begin(kDepths), std::end(kDepths), options.depth) == std::end(kDepths)) {
    return absl::InvalidArgumentError(
        absl::StrCat("depth must be one of ", absl::StrJoin(kDepths, ", "), ", got ", options.depth));
  }
  if (absl::Status status = CheckNumClasses(options.num_classes); !status.ok()) return status;
  const int blocks = (options.depth - 2) / 6;
  Builder builder;
  int x = builder.Stem(/*width=*/16, /*padding=*/1);
  x = builder.Stage(1, blocks, x, 16, 16, /*stride=*/1, options.shortcut);
  x = builder.Stage(2, blocks, x, 16, 32, /*stride=*/2, options.shortcut);
  x = builder.Stage(3, blocks, x, 32, 64, /*stride=*/2, options.shortcut);
  builder.Head(GlobalAvgPool{}, x, /*features=*/64, options.num_classes);
  return Graph::Create(builder.TakeLayers());
}

absl::StatusOr<Graph> BuildBasicBlockResnet(const BasicBlockResnetOptions& options) {
  if (options.blocks.empty() || options.blocks.size() != options.widths.size()) {
    return absl::InvalidArgumentError(absl::StrCat("blocks and widths must have one number per stage, got ",
                                                   options.blocks.size(), " and ", options.widths.size()));
  }
  constexpr int kMostBlocks = 1000;  // of a stage: the most that anybody has trained, and no strain on memory
  for (const int blocks : options.blocks) {
    if (blocks > kMostBlocks) {
      return absl::InvalidArgumentError(
          absl::StrCat("blocks must be at most ", kMostBlocks, " for each stage, got ", blocks));
    }
  }
  for (const absl::Status& status : {CheckPositive("blocks", options.blocks), CheckPositive("widths", options.widths),
                                     CheckNumClasses(options.num_classes)}) {
    if (!status.ok()) return status;
  }
  if (options.stem_padding < 0) {
    return absl::InvalidArgumentError(absl::StrCat("stem_padding must not be negative, got ", options.stem_padding));
  }
  if (options.final_pool < 1) {
    return absl::InvalidArgumentError(absl::StrCat("final_pool must be at least 1, got ", options.final_pool));
  }
  Builder builder;
  int x = builder.Stem(options.widths[0], options.stem_padding);
  int64_t width = options.widths[0];
  int64_t side = kImageSide + 2 * options.stem_padding - 2;
  for (size_t stage = 0; stage < options.blocks.size(); ++stage) {
    const int64_t stride = stage == 0 ? 1 : 2;
    x = builder.Stage(static_cast<int>(stage) + 1, options.blocks[stage], x, width, options.widths[stage], stride,
                      Shortcut::kOptionB);
    width = options.widths[stage];
    side = (side - 1) / stride + 1;
  }
  if (options.final_pool > side) {
    return absl::InvalidArgumentError(absl::StrCat("final_pool of ", options.final_pool,
                                                   " is larger than the last stage's output of ", side, "x", side));
  }
  const Pair pool = {options.final_pool, options.final_pool};
  const int64_t pooled = side / options.final_pool;
  builder.Head(AvgPool{pool, pool}, x, width * pooled * pooled, options.num_classes);
  return Graph::Create(builder.TakeLayers());
}

}  // namespace lowbit
