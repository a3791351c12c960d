// QuantizedModel to and from the safetensors file that quantized_model.h describes.

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "artifact/network.pb.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/text_format_error.h"
#include "google/protobuf/text_format.h"
#include "model/graph_proto.h"
#include "quant/packing.h"
#include "quant/quantized_model.h"

namespace lowbit {
namespace {

constexpr char kNetworkKey[] = "lowbit.network";

std::string WeightName(absl::string_view layer) { return absl::StrCat(layer, ".weight"); }
std::string ScaleName(absl::string_view layer) { return absl::StrCat(layer, ".weight_scale"); }
std::string ZeroPointName(absl::string_view layer) { return absl::StrCat(layer, ".weight_zero_point"); }
std::string BasesName(absl::string_view layer) { return absl::StrCat(layer, ".weight_bases"); }

absl::Status Invalid(absl::string_view what, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", message));
}

TensorBlob FloatBlob(const std::vector<float>& values) {
  TensorBlob blob;
  blob.dtype = DType::kF32;
  blob.shape = {static_cast<int64_t>(values.size())};
  blob.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return blob;
}

// ---- Writing ----

QuantizationProto QuantizationToProto(const QuantizedModel& model) {
  QuantizationProto proto;
  proto.set_packing_version(kPackingVersion);
  for (const auto& [layer, weight] : model.weights) {
    WeightQuantizationProto* entry = proto.add_weights();
    entry->set_layer(layer);
    entry->set_bits(weight.params.bits);
    entry->set_is_signed(weight.params.is_signed);
    entry->mutable_levels()->Assign(weight.params.levels.begin(), weight.params.levels.end());
  }
  for (const auto& [producer, params] : model.activations) {
    ActivationQuantizationProto* entry = proto.add_activations();
    entry->set_producer(producer);
    entry->set_bits(params.bits);
    entry->set_is_signed(params.is_signed);
    entry->mutable_levels()->Assign(params.levels.begin(), params.levels.end());
    entry->add_scale(params.scale.front());
    entry->add_zero_point(params.zero_point.front());
  }
  return proto;
}

absl::StatusOr<SafetensorsFile> ToFile(const QuantizedModel& model) {
  LOWBIT_RETURN_IF_ERROR(CheckQuantizedModel(model));
  if (model.metadata.count(kNetworkKey) != 0) return Invalid("metadata", absl::StrCat(kNetworkKey, " is taken"));
  NetworkProto network = GraphToProto(model.graph);
  *network.mutable_quantization() = QuantizationToProto(model);
  SafetensorsFile file;
  file.metadata = model.metadata;
  if (!google::protobuf::TextFormat::PrintToString(network, &file.metadata[kNetworkKey])) {
    return absl::InternalError("the network cannot be printed");
  }
  file.tensors = model.parameters;
  for (const auto& [layer, weight] : model.weights) {
    TensorBlob codes;
    codes.dtype = DType::kU8;
    codes.shape = {weight.rows(), PackedRowBytes(weight.row_size(), weight.params.bits)};
    codes.bytes = weight.codes;
    file.tensors[WeightName(layer)] = std::move(codes);
    file.tensors[ScaleName(layer)] = FloatBlob(weight.params.scale);
    if (weight.has_zero_points()) file.tensors[ZeroPointName(layer)] = FloatBlob(weight.params.zero_point);
    if (!weight.params.bases.empty()) {
      TensorBlob bases = FloatBlob(weight.params.bases);
      bases.shape = {static_cast<int64_t>(weight.params.scale.size()), weight.params.bits - 1};
      file.tensors[BasesName(layer)] = std::move(bases);
    }
  }
  return file;
}

// ---- Reading ----

absl::StatusOr<NetworkProto> ParseNetwork(const std::string& text) {
  NetworkProto network;
  TextFormatError errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  if (parser.ParseFromString(text, &network)) return network;
  return Invalid(absl::StrCat("metadata ", kNetworkKey),
                 absl::StrCat(errors.line() + 1, ":", errors.column() + 1, ": ", errors.message()));
}

// Moves a tensor out of the file, if it is there.
bool Take(const std::string& name, SafetensorsFile* file, TensorBlob* blob) {
  const auto it = file->tensors.find(name);
  if (it == file->tensors.end()) return false;
  *blob = std::move(it->second);
  file->tensors.erase(it);
  return true;
}

absl::StatusOr<std::vector<float>> TakeFloats(const std::string& name, size_t dimensions, SafetensorsFile* file) {
  TensorBlob blob;
  if (!Take(name, file, &blob)) return Invalid(name, "missing");
  if (blob.dtype != DType::kF32 || blob.shape.size() != dimensions) {
    return Invalid(name, absl::StrCat("expected F32 of ", dimensions == 1 ? "one dimension" : "two dimensions",
                                      ", got ", DTypeName(blob.dtype), " of shape ", ShapeToString(blob.shape)));
  }
  std::vector<float> values(blob.bytes.size() / sizeof(float));
  std::memcpy(values.data(), blob.bytes.data(), values.size() * sizeof(float));
  return values;
}

// A QuantParams without scales, or an error about its bits.
absl::StatusOr<QuantParams> GridFromProto(absl::string_view what, int bits, bool is_signed) {
  const absl::Status width = CheckWidth(bits);
  if (!width.ok()) return Invalid(what, absl::StrCat("bits ", width.message()));
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  return params;
}

absl::StatusOr<PackedWeight> TakeWeight(const Graph& graph, const WeightQuantizationProto& proto,
                                        SafetensorsFile* file) {
  const std::string name = WeightName(proto.layer());
  const int layer = graph.Find(proto.layer());
  if (layer < 0 || !HasWeight(graph.layer(layer).op)) {
    return Invalid(name, "said to be quantized, but the network has no layer of this name with a weight");
  }
  PackedWeight weight;
  weight.shape = ParameterShapes(graph.layer(layer).op).at("weight");
  LOWBIT_ASSIGN_OR_RETURN(weight.params, GridFromProto(name, proto.bits(), proto.is_signed()));
  TensorBlob codes;
  if (!Take(name, file, &codes)) return Invalid(name, "missing");
  const Shape wanted = {weight.rows(), PackedRowBytes(weight.row_size(), proto.bits())};
  if (codes.dtype != DType::kU8 || codes.shape != wanted) {
    return Invalid(name, absl::StrCat("expected ", proto.bits(), "-bit codes of shape ", ShapeToString(weight.shape),
                                      " as U8 of shape ", ShapeToString(wanted), ", got ", DTypeName(codes.dtype),
                                      " of shape ", ShapeToString(codes.shape)));
  }
  weight.codes = std::move(codes.bytes);
  LOWBIT_ASSIGN_OR_RETURN(weight.params.scale, TakeFloats(ScaleName(proto.layer()), 1, file));
  weight.params.zero_point.assign(weight.params.scale.size(), 0);
  if (file->tensors.count(ZeroPointName(proto.layer())) != 0) {
    LOWBIT_ASSIGN_OR_RETURN(weight.params.zero_point, TakeFloats(ZeroPointName(proto.layer()), 1, file));
  }
  weight.params.levels.assign(proto.levels().begin(), proto.levels().end());
  if (file->tensors.count(BasesName(proto.layer())) != 0) {
    // (One bit would have an empty list of them, which means a uniform grid.)
    if (proto.bits() < 2) {
      return Invalid(BasesName(proto.layer()), absl::StrCat("bases are for 2 to 8 bits, got ", proto.bits()));
    }
    const Shape& shape = file->tensors[BasesName(proto.layer())].shape;
    const Shape fits = {static_cast<int64_t>(weight.params.scale.size()), proto.bits() - 1};
    if (shape != fits) {
      return Invalid(BasesName(proto.layer()),
                     absl::StrCat("expected shape ", ShapeToString(fits), ", got ", ShapeToString(shape)));
    }
    LOWBIT_ASSIGN_OR_RETURN(weight.params.bases, TakeFloats(BasesName(proto.layer()), 2, file));
  }
  return weight;
}

absl::Status TakeQuantization(const QuantizationProto& proto, SafetensorsFile* file, QuantizedModel* model) {
  if (proto.packing_version() != kPackingVersion) {
    return Invalid("packing_version",
                   absl::StrCat("this program reads version ", kPackingVersion, ", got ", proto.packing_version()));
  }
  for (const WeightQuantizationProto& entry : proto.weights()) {
    if (model->weights.count(entry.layer()) != 0) return Invalid(WeightName(entry.layer()), "described twice");
    LOWBIT_ASSIGN_OR_RETURN(model->weights[entry.layer()], TakeWeight(model->graph, entry, file));
  }
  for (const ActivationQuantizationProto& entry : proto.activations()) {
    const std::string what = absl::StrCat("activation of ", entry.producer());
    LOWBIT_ASSIGN_OR_RETURN(QuantParams params, GridFromProto(what, entry.bits(), entry.is_signed()));
    params.scale.assign(entry.scale().begin(), entry.scale().end());
    params.zero_point.assign(entry.zero_point().begin(), entry.zero_point().end());
    params.levels.assign(entry.levels().begin(), entry.levels().end());
    if (!model->activations.emplace(entry.producer(), std::move(params)).second)
      return Invalid(what, "described twice");
  }
  return absl::OkStatus();
}

absl::StatusOr<QuantizedModel> FromFile(SafetensorsFile file) {
  const auto text = file.metadata.find(kNetworkKey);
  if (text == file.metadata.end()) {
    return Invalid("metadata", absl::StrCat("there is no ", kNetworkKey, ": these are tensors without a network"));
  }
  LOWBIT_ASSIGN_OR_RETURN(const NetworkProto network, ParseNetwork(text->second));
  if (!network.has_quantization()) {
    return Invalid(absl::StrCat("metadata ", kNetworkKey), "the network is not quantized");
  }
  LOWBIT_ASSIGN_OR_RETURN(Graph graph, GraphFromProto(network));
  QuantizedModel model{std::move(graph), {}, {}, {}, {}};
  LOWBIT_RETURN_IF_ERROR(TakeQuantization(network.quantization(), &file, &model));
  model.parameters = std::move(file.tensors);
  model.metadata = std::move(file.metadata);
  model.metadata.erase(kNetworkKey);
  LOWBIT_RETURN_IF_ERROR(CheckQuantizedModel(model));
  return model;
}

}  // namespace

absl::StatusOr<std::string> SerializeQuantizedModel(const QuantizedModel& model) {
  LOWBIT_ASSIGN_OR_RETURN(const SafetensorsFile file, ToFile(model));
  return SerializeSafetensors(file);
}

absl::Status SaveQuantizedModel(const std::string& path, const QuantizedModel& model) {
  LOWBIT_ASSIGN_OR_RETURN(const SafetensorsFile file, ToFile(model));
  return WriteSafetensors(path, file);
}

absl::StatusOr<QuantizedModel> LoadQuantizedModel(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return ParseQuantizedModel(bytes, path);
}

absl::StatusOr<QuantizedModel> ParseQuantizedModel(absl::string_view bytes, absl::string_view name) {
  LOWBIT_ASSIGN_OR_RETURN(SafetensorsFile file, ParseSafetensors(bytes, name));
  auto model = FromFile(std::move(file));
  if (!model.ok()) return absl::Status(model.status().code(), absl::StrCat(name, ": ", model.status().message()));
  return model;
}

}  // namespace lowbit
