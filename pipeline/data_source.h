#ifndef LOWBIT_PIPELINE_DATA_SOURCE_H_
#define LOWBIT_PIPELINE_DATA_SOURCE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "data/normalize.h"
#include "model/graph.h"
#include "pipeline/config.pb.h"

namespace lowbit {

// The images of a run. A split is opened when it is first asked for and stays open.
class DataSource {
 public:
  using Open = std::function<absl::StatusOr<std::unique_ptr<Dataset>>(Split)>;

  // `class_names` where they are known before a split is open.
  DataSource(Open open, Normalization normalization, std::vector<std::string> class_names = {});

  // CIFAR-10 where the (effective) config says, or where the build left it. InvalidArgument or NotFound with field
  // "data_dir", "mean" or "std" if that does not work; files are looked at when a split is opened.
  static absl::StatusOr<std::unique_ptr<DataSource>> FromConfig(const DatasetConfig& config);

  // Errors name the field "dataset.data_dir".
  absl::StatusOr<const Dataset*> Get(Split split);

  const Normalization& normalization() const { return normalization_; }
  const std::vector<std::string>& class_names() const { return class_names_; }

 private:
  Open open_;
  Normalization normalization_;
  std::vector<std::string> class_names_;
  std::unique_ptr<Dataset> train_, test_;
};

// InvalidArgument (field "model") if the network takes other images than the data set has, or tells apart another
// number of classes.
absl::Status CheckFits(const Graph& graph, const Dataset& dataset);

// `count` different images of a data set of `size`, drawn by the seed, in random order. `purpose` keeps the
// choices of two steps apart. A smaller count gives the first of a larger one's.
std::vector<int64_t> DrawImages(int64_t size, int64_t count, uint64_t seed, uint64_t purpose);

// The same, but none of `seen` before all others are used up.
std::vector<int64_t> DrawUnseenImages(int64_t size, int64_t count, uint64_t seed, uint64_t purpose,
                                      const std::vector<int64_t>& seen);

// The purpose of those that calibrate draws. Steps after it that need images without labels share that draw, so that a
// run uses no more of them than the step that asks for the most.
constexpr uint64_t kCalibrationImages = 0x63616c69;  // "cali"

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_DATA_SOURCE_H_
