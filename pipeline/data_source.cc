#include "pipeline/data_source.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "base/user_path.h"
#include "data/cifar10.h"
#include "pipeline/paths.h"

namespace lowbit {
namespace {

absl::Status CheckThree(const char* field, const std::vector<float>& values) {
  if (values.size() == 3) return absl::OkStatus();
  return FieldError(field, absl::StrCat("must be 3 numbers, for red, green and blue; got ", values.size()));
}

}  // namespace

DataSource::DataSource(Open open, Normalization normalization, std::vector<std::string> class_names)
    : open_(std::move(open)), normalization_(std::move(normalization)), class_names_(std::move(class_names)) {}

absl::StatusOr<std::unique_ptr<DataSource>> DataSource::FromConfig(const DatasetConfig& config) {
  const Normalization normalization{{config.mean().begin(), config.mean().end()},
                                    {config.std().begin(), config.std().end()}};
  LOWBIT_RETURN_IF_ERROR(CheckThree("mean", normalization.mean));
  LOWBIT_RETURN_IF_ERROR(CheckThree("std", normalization.std));
  const auto normalizer = Normalizer::Create(normalization, ImageShape{3, 1, 1});
  if (!normalizer.ok()) return normalizer.status();
  std::string folder = UserPath(config.data_dir());
  if (folder.empty()) folder = FetchedCifar10();
  if (folder.empty()) {
    return FieldError(
        "data_dir",
        "names no folder, and this program was built without a copy of CIFAR-10; --data_dir=<folder> names one");
  }
  return std::make_unique<DataSource>([folder](Split split) { return OpenCifar10(folder, split); }, normalization,
                                      Cifar10ClassNames());
}

absl::StatusOr<const Dataset*> DataSource::Get(Split split) {
  std::unique_ptr<Dataset>& dataset = split == Split::kTrain ? train_ : test_;
  if (dataset == nullptr) {
    auto opened = open_(split);
    if (!opened.ok()) return PrependField(opened.status(), "dataset.data_dir");
    dataset = *std::move(opened);
  }
  return dataset.get();
}

absl::Status CheckFits(const Graph& graph, const Dataset& dataset) {
  const ImageShape image = dataset.image_shape();
  const Shape images = {image.channels, image.height, image.width};
  if (graph.input_shape() != images) {
    return FieldError("model", absl::StrCat("the network takes images of shape ", ShapeToString(graph.input_shape()),
                                            ", those of the data set are ", ShapeToString(images)));
  }
  const Shape& output = graph.output_shape(graph.size() - 1);
  if (output != Shape{dataset.num_classes()}) {
    return FieldError("model", absl::StrCat("the network puts out ", ShapeToString(output), ", the data set has ",
                                            dataset.num_classes(), " classes"));
  }
  return absl::OkStatus();
}

std::vector<int64_t> DrawImages(int64_t size, int64_t count, uint64_t seed, uint64_t purpose) {
  std::vector<int64_t> images = Rng({seed, purpose}).Permutation(size);
  images.resize(static_cast<size_t>(count));
  return images;
}

std::vector<int64_t> DrawUnseenImages(int64_t size, int64_t count, uint64_t seed, uint64_t purpose,
                                      const std::vector<int64_t>& seen) {
  const std::set<int64_t> known(seen.begin(), seen.end());
  std::vector<int64_t> images = Rng({seed, purpose}).Permutation(size);
  std::stable_partition(images.begin(), images.end(), [&](int64_t image) { return known.count(image) == 0; });
  images.resize(static_cast<size_t>(count));
  return images;
}

}  // namespace lowbit
