#include "data/in_memory_dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/random.h"

namespace lowbit {

InMemoryDataset::InMemoryDataset(ImageShape shape, std::vector<uint8_t> images, std::vector<int32_t> labels,
                                 std::vector<std::string> class_names)
    : shape_(shape), images_(std::move(images)), labels_(std::move(labels)), class_names_(std::move(class_names)) {}

absl::StatusOr<std::unique_ptr<InMemoryDataset>> InMemoryDataset::Create(ImageShape shape, std::vector<uint8_t> images,
                                                                         std::vector<int32_t> labels,
                                                                         std::vector<std::string> class_names) {
  if (shape.channels < 1 || shape.height < 1 || shape.width < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("images must have at least one value, got ", shape.channels, "x", shape.height, "x", shape.width));
  }
  const int64_t count = static_cast<int64_t>(labels.size());
  if (static_cast<int64_t>(images.size()) != count * shape.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(count, " labels want ", count * shape.size(), " values of images, got ", images.size()));
  }
  const int64_t classes = static_cast<int64_t>(class_names.size());
  for (int64_t i = 0; i < count; ++i) {
    if (labels[i] < 0 || labels[i] >= classes) {
      return absl::InvalidArgumentError(
          absl::StrCat("image ", i, ": label must be in [0, ", classes, "), got ", labels[i]));
    }
  }
  return absl::WrapUnique(new InMemoryDataset(shape, std::move(images), std::move(labels), std::move(class_names)));
}

absl::Status InMemoryDataset::Get(int64_t index, uint8_t* chw, int32_t* label) const {
  if (index < 0 || index >= size()) return IndexError(index, size());
  std::memcpy(chw, images_.data() + index * shape_.size(), shape_.size());
  *label = labels_[index];
  return absl::OkStatus();
}

std::unique_ptr<InMemoryDataset> MakeSyntheticDataset(const SyntheticOptions& options) {
  constexpr int kBlock = 4;
  const ImageShape& shape = options.shape;
  const int blocks_down = (shape.height + kBlock - 1) / kBlock;
  const int blocks_across = (shape.width + kBlock - 1) / kBlock;
  LOWBIT_CHECK(options.num_classes > 0, "num_classes ", options.num_classes);

  std::vector<std::vector<uint8_t>> patterns(options.num_classes);  // [class][channel, block row, block column]
  std::vector<std::string> class_names;
  for (int c = 0; c < options.num_classes; ++c) {
    Rng rng({options.seed, 0, static_cast<uint64_t>(c)});
    for (int i = 0; i < shape.channels * blocks_down * blocks_across; ++i) {
      patterns[c].push_back(static_cast<uint8_t>(rng.UniformInt(256)));
    }
    class_names.push_back(absl::StrCat("class", c));
  }

  std::vector<uint8_t> images;
  images.reserve(options.size * shape.size());
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < options.size; ++i) {
    const int label = static_cast<int>(i % options.num_classes);
    Rng rng({options.seed, 1, static_cast<uint64_t>(i)});
    for (int c = 0; c < shape.channels; ++c) {
      for (int y = 0; y < shape.height; ++y) {
        for (int x = 0; x < shape.width; ++x) {
          const int block = (c * blocks_down + y / kBlock) * blocks_across + x / kBlock;
          const double value = patterns[label][block] + options.noise * rng.Normal();
          images.push_back(static_cast<uint8_t>(std::lround(std::clamp(value, 0.0, 255.0))));
        }
      }
    }
    labels.push_back(label);
  }
  auto dataset = InMemoryDataset::Create(shape, std::move(images), std::move(labels), std::move(class_names));
  LOWBIT_CHECK(dataset.ok(), std::string(dataset.status().message()));
  return *std::move(dataset);
}

}  // namespace lowbit
