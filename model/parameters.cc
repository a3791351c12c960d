#include "model/parameters.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "artifact/safetensors.h"
#include "artifact/torch_checkpoint.h"
#include "base/file.h"
#include "base/fnv1a.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "model/torch_boundary.h"

namespace lowbit {
namespace {

uint64_t HashName(absl::string_view name) {
  uint64_t hash = kFnv1aStart;
  for (char c : name) hash = Fnv1a(hash, static_cast<unsigned char>(c));
  return hash;
}

at::Tensor InitWeight(const Op& op, const Shape& shape, uint64_t seed, absl::string_view name) {
  at::Tensor weight = at::empty(shape, at::kFloat);
  float* data = weight.data_ptr<float>();
  Rng rng({seed, HashName(name)});
  if (const auto* conv = std::get_if<Conv2d>(&op)) {
    const double fan_out = static_cast<double>(conv->out_channels / conv->groups * conv->kernel[0] * conv->kernel[1]);
    const double std = std::sqrt(2.0 / fan_out);
    std::generate_n(data, weight.numel(), [&] { return static_cast<float>(rng.Normal() * std); });
  } else {
    const double bound = 1.0 / std::sqrt(static_cast<double>(shape[1]));
    std::generate_n(data, weight.numel(), [&] { return static_cast<float>(rng.Uniform(-bound, bound)); });
  }
  return weight;
}

// Some names of each side are what a user needs to find the wrong file, the wrong architecture or the rule that would
// turn the one into the other; a hundred are not. `got`: a map by name.
template <typename Map>
absl::Status CheckNames(const std::map<std::string, Shape>& wanted, const Map& got) {
  const auto list = [](const std::vector<std::string>& names) {
    constexpr size_t kShown = 10;
    std::string text;
    for (size_t i = 0; i < std::min(kShown, names.size()); ++i) absl::StrAppend(&text, i == 0 ? "" : ", ", names[i]);
    if (names.size() > kShown) absl::StrAppend(&text, " and ", names.size() - kShown, " more");
    return text;
  };
  std::vector<std::string> missing, unexpected;
  for (const auto& entry : wanted) {
    if (got.count(entry.first) == 0) missing.push_back(entry.first);
  }
  for (const auto& entry : got) {
    if (wanted.count(entry.first) == 0) unexpected.push_back(entry.first);
  }
  if (missing.empty() && unexpected.empty()) return absl::OkStatus();
  std::string message;
  if (!missing.empty()) absl::StrAppend(&message, "missing parameters: ", list(missing));
  if (!unexpected.empty()) {
    absl::StrAppend(&message, missing.empty() ? "" : "; ",
                    "parameters that the network does not have: ", list(unexpected));
  }
  return absl::InvalidArgumentError(message);
}

absl::Status CheckTensor(const std::string& name, const at::Tensor& value, const Shape& shape) {
  if (!value.defined()) return absl::InvalidArgumentError(absl::StrCat("parameter ", name, " is an undefined tensor"));
  if (value.sizes() != at::IntArrayRef(shape)) {
    return absl::InvalidArgumentError(absl::StrCat("parameter ", name, " has shape ",
                                                   ShapeToString(value.sizes().vec()), ", the network wants ",
                                                   ShapeToString(shape)));
  }
  if (value.scalar_type() != at::kFloat) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter ", name, " is of type ", c10::toString(value.scalar_type()), ", wanted Float"));
  }
  const int64_t bad = value.numel() - at::isfinite(value.detach()).sum().item<int64_t>();
  if (bad == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("parameter ", name, " has ", bad, " NaN or infinite values of ", value.numel()));
}

std::map<std::string, Shape> AllShapes(const Graph& graph) {
  std::map<std::string, Shape> shapes;
  for (const Layer& layer : graph.layers()) {
    for (auto& [name, shape] : ParameterShapes(layer.op)) shapes[ParameterName(layer.name, name)] = shape;
  }
  return shapes;
}

absl::StatusOr<at::ScalarType> FloatType(DType dtype, const std::string& name) {
  switch (dtype) {
    case DType::kF64:
      return at::kDouble;
    case DType::kF32:
      return at::kFloat;
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("parameter ", name, " is of type ", DTypeName(dtype), ", wanted F32, F16, BF16 or F64"));
  }
}

using TensorBlobs = std::map<std::string, TensorBlob>;

bool IsBatchCount(const std::string& name) { return absl::EndsWith(name, ".num_batches_tracked"); }

absl::StatusOr<ParameterMap> ToParameters(TensorBlobs tensors) {
  ParameterMap parameters;
  for (auto& [name, blob] : tensors) {
    if (IsBatchCount(name)) continue;
    LOWBIT_ASSIGN_OR_RETURN(const at::ScalarType type, FloatType(blob.dtype, name));
    at::Tensor raw = at::from_blob(blob.bytes.data(), blob.shape, at::TensorOptions(type));
    parameters[name] = raw.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  }
  return parameters;
}

DType FileType(at::ScalarType type) {
  if (type == at::kHalf) return DType::kF16;
  return type == at::kBFloat16 ? DType::kBF16 : DType::kF32;
}

// The largest finite number of a 16-bit type.
float Largest(at::ScalarType type) {
  return type == at::kHalf ? static_cast<float>(std::numeric_limits<c10::Half>::max())
                           : static_cast<float>(std::numeric_limits<c10::BFloat16>::max());
}

absl::StatusOr<TensorBlob> ToBlob(const std::string& name, const at::Tensor& value, at::ScalarType type) {
  if (type != at::kFloat && value.numel() > 0) {
    const float worst = value.abs().max().item<float>();
    if (!(worst <= Largest(type))) {  // NaN, too
      return absl::InvalidArgumentError(absl::StrCat("parameter ", name, " has a value of magnitude ", worst, "; ",
                                                     DTypeName(FileType(type)), " holds no more than ", Largest(type)));
    }
  }
  const at::Tensor dense = value.to(type).contiguous();
  TensorBlob blob;
  blob.dtype = FileType(type);
  blob.shape = dense.sizes().vec();
  blob.bytes.assign(static_cast<const char*>(dense.data_ptr()), dense.nbytes());
  return blob;
}

absl::StatusOr<SafetensorsFile> ReadTensors(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  if (!IsTorchCheckpoint(bytes)) return ParseSafetensors(bytes, path);
  SafetensorsFile file;
  LOWBIT_ASSIGN_OR_RETURN(file.tensors, ParseTorchCheckpoint(bytes, path));
  return file;
}

// Without what PyTorch counts, under its old name or its new one: a rule for all of a layer's tensors meets it, too.
absl::StatusOr<TensorBlobs> Rename(const NameMapping& mapping, TensorBlobs tensors) {
  std::vector<std::string> names;
  for (const auto& entry : tensors) names.push_back(entry.first);
  LOWBIT_ASSIGN_OR_RETURN(const auto new_name, mapping.Apply(names));
  TensorBlobs renamed;
  for (const auto& [from, to] : new_name) {
    if (!IsBatchCount(from) && !IsBatchCount(to)) renamed.emplace(to, std::move(tensors.at(from)));
  }
  return renamed;
}

absl::Status InFile(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

}  // namespace

std::string ParameterName(absl::string_view layer, absl::string_view parameter) {
  return absl::StrCat(layer, ".", parameter);
}

bool IsRunningStatistic(absl::string_view parameter_name) {
  return absl::EndsWith(parameter_name, ".running_mean") || absl::EndsWith(parameter_name, ".running_var");
}

absl::Status CheckParameters(const Graph& graph, const ParameterMap& parameters) {
  const std::map<std::string, Shape> wanted = AllShapes(graph);
  LOWBIT_RETURN_IF_ERROR(CheckNames(wanted, parameters));
  return CatchTorch([&]() -> absl::Status {
    for (const auto& [name, value] : parameters) {
      LOWBIT_RETURN_IF_ERROR(CheckTensor(name, value, wanted.at(name)));
    }
    return absl::OkStatus();
  });
}

ParameterMap InitParameters(const Graph& graph, uint64_t seed) {
  ParameterMap parameters;
  for (const Layer& layer : graph.layers()) {
    const bool norm = std::holds_alternative<BatchNorm>(layer.op);
    for (const auto& [parameter, shape] : ParameterShapes(layer.op)) {
      const std::string name = ParameterName(layer.name, parameter);
      if (parameter == "weight" && !norm) {
        parameters[name] = InitWeight(layer.op, shape, seed, name);
      } else {
        const bool one = norm && (parameter == "weight" || parameter == "running_var");
        parameters[name] = at::full(shape, one ? 1.0 : 0.0, at::kFloat);
      }
    }
  }
  return parameters;
}

absl::StatusOr<ParameterFile> ReadParameterFile(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(SafetensorsFile file, ReadTensors(path));
  ParameterFile result;
  result.metadata = std::move(file.metadata);
  absl::StatusOr<ParameterMap> parameters = CatchTorch([&] { return ToParameters(std::move(file.tensors)); });
  if (!parameters.ok()) return InFile(path, parameters.status());
  result.parameters = *std::move(parameters);
  return result;
}

absl::StatusOr<ParameterMap> LoadParameters(const std::string& path, const Graph& graph, const NameMapping& mapping) {
  LOWBIT_ASSIGN_OR_RETURN(SafetensorsFile file, ReadTensors(path));
  LOWBIT_ASSIGN_OR_RETURN(TensorBlobs tensors, Rename(mapping, std::move(file.tensors)));
  // Before the types: an integer that the network does not have is no parameter of a wrong type.
  if (absl::Status status = CheckNames(AllShapes(graph), tensors); !status.ok()) return InFile(path, status);
  absl::StatusOr<ParameterMap> parameters = CatchTorch([&] { return ToParameters(std::move(tensors)); });
  if (!parameters.ok()) return InFile(path, parameters.status());
  if (absl::Status status = CheckParameters(graph, *parameters); !status.ok()) return InFile(path, status);
  return parameters;
}

absl::Status SaveParameters(const std::string& path, const ParameterMap& parameters,
                            const std::map<std::string, std::string>& metadata, at::ScalarType type) {
  SafetensorsFile file;
  file.metadata = metadata;
  const absl::Status rounded = CatchTorch([&]() -> absl::Status {
    for (const auto& [name, value] : parameters) {
      LOWBIT_ASSIGN_OR_RETURN(file.tensors[name], ToBlob(name, value.detach().to(at::kCPU, at::kFloat), type));
    }
    return absl::OkStatus();
  });
  if (!rounded.ok()) return InFile(path, rounded);
  if (absl::EndsWith(path, ".pt") || absl::EndsWith(path, ".pth")) {
    if (metadata.empty()) return SaveTorchCheckpoint(path, file.tensors);
    return absl::InvalidArgumentError(absl::StrCat(path, ": a PyTorch checkpoint has no place for metadata"));
  }
  return WriteSafetensors(path, file);
}

ParameterMap CloneParameters(const ParameterMap& parameters, at::Device device) {
  ParameterMap clones;
  for (const auto& [name, value] : parameters) {
    clones[name] = value.detach().to(device, value.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }
  return clones;
}

uint64_t DigestParameters(const ParameterMap& parameters) {
  uint64_t digest = kFnv1aStart;
  for (const auto& [name, tensor] : parameters) {
    const at::Tensor dense = tensor.contiguous();
    const float* const values = dense.data_ptr<float>();
    for (int64_t i = 0; i < dense.numel(); ++i) {
      uint32_t bits;
      std::memcpy(&bits, values + i, sizeof(bits));
      digest = Fnv1a(digest, bits);
    }
  }
  return digest;
}

}  // namespace lowbit
