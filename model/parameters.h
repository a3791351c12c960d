#ifndef LOWBIT_MODEL_PARAMETERS_H_
#define LOWBIT_MODEL_PARAMETERS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/graph.h"
#include "model/name_mapping.h"

namespace lowbit {

// The numbers of a network by PyTorch's state-dict names, "<layer>.weight", "<layer>.bias", "<layer>.running_mean",
// "<layer>.running_var": float32, on the CPU unless said otherwise. What each layer owns and in which shape:
// ParameterShapes() in graph.h. at::Tensor is a handle: copying the map shares the numbers, CloneParameters copies
// them.
using ParameterMap = std::map<std::string, at::Tensor>;

struct Model {
  Graph graph;
  ParameterMap parameters;
};

// "layer1.0.conv1", "weight" -> "layer1.0.conv1.weight".
std::string ParameterName(absl::string_view layer, absl::string_view parameter);

// True for running_mean and running_var, which are state but not trained.
bool IsRunningStatistic(absl::string_view parameter_name);

// InvalidArgument if a parameter is missing, unexpected, of a wrong shape (both shapes named) or type, or holds a NaN
// or an infinity (the first one's name and how many there are).
absl::Status CheckParameters(const Graph& graph, const ParameterMap& parameters);

// Convolutions: normal with std = sqrt(2 / fan_out), fan_out = out_channels * kernel h * kernel w / groups (He et al.
// 2015, arXiv 1502.01852). Linear: uniform in +-1 / sqrt(in_features). Biases 0; batch norm starts as the identity with
// running mean 0 and variance 1. Every tensor has its own stream, seeded by `seed` and its name, so a layer's start
// does not depend on its neighbours.
ParameterMap InitParameters(const Graph& graph, uint64_t seed);

// One number that tells parameters apart: FNV-1a over the bits of all of them, in the order of their names.
uint64_t DigestParameters(const ParameterMap& parameters);

struct ParameterFile {
  ParameterMap parameters;
  std::map<std::string, std::string> metadata;
};

// Whatever tensors a file has, as they are named there, and its metadata (a PyTorch checkpoint has none, and what its
// names are is said in artifact/torch_checkpoint.h). Types as in LoadParameters.
absl::StatusOr<ParameterFile> ReadParameterFile(const std::string& path);

// Reads a safetensors file or a PyTorch checkpoint. Accepts f32, f16, bf16 and f64, all converted to f32;
// "num_batches_tracked" entries, which PyTorch writes, are passed over. Everything else that CheckParameters refuses is
// refused, naming the file. Names are compared after `mapping`, whose errors come as they are.
absl::StatusOr<ParameterMap> LoadParameters(const std::string& path, const Graph& graph,
                                            const NameMapping& mapping = {});

// Writes all of it, atomically, sorted by name: the same parameters give the same bytes. A name that ends in .pt
// or .pth becomes a PyTorch checkpoint, which holds no metadata (InvalidArgument); any other one a safetensors file.
// `type`, of the numbers in the file: kFloat, kHalf or kBFloat16. They are rounded to the nearest, ties to even; what
// lies beyond the type's largest number is an InvalidArgument that names the parameter.
absl::Status SaveParameters(const std::string& path, const ParameterMap& parameters,
                            const std::map<std::string, std::string>& metadata = {}, at::ScalarType type = at::kFloat);

// A deep copy without autograd history, on `device`.
ParameterMap CloneParameters(const ParameterMap& parameters, at::Device device = at::kCPU);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_PARAMETERS_H_
