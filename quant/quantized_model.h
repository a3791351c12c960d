#ifndef LOWBIT_QUANT_QUANTIZED_MODEL_H_
#define LOWBIT_QUANT_QUANTIZED_MODEL_H_

// A quantized network as a value and as a file. No LibTorch here: the runtime reads it too. For making one from tensors
// and for running it on LibTorch see fake_quant_model.h.

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "artifact/safetensors.h"
#include "model/graph.h"
#include "quant/quant_params.h"

namespace lowbit {

// The weight of one layer in integers.
struct PackedWeight {
  Shape shape;         // of the float weight: [O, I / groups, kernel h, kernel w] or [O, I]
  QuantParams params;  // of one channel, or of O
  std::string codes;   // O rows, as in quant/packing.h

  int64_t rows() const { return shape.front(); }
  int64_t row_size() const;
  bool has_zero_points() const;  // whether one is not 0
};

// The overlay: what the quantizers decided, laid beside a float graph.
struct QuantizedModel {
  Graph graph;

  // By PyTorch's names, as model/parameters.h: every parameter of the graph that stayed float, as F32. The weight of a
  // layer is either here or in `weights`.
  std::map<std::string, TensorBlob> parameters;

  // By layer name.
  std::map<std::string, PackedWeight> weights;

  // Of the tensor that a layer puts out, by that layer's name; all its readers see the quantized value. One scale and
  // one zero point each. Layers that are not here put out floats.
  std::map<std::string, QuantParams> activations;

  // Free text that travels in the file ("lowbit.network" is taken).
  std::map<std::string, std::string> metadata;
};

// Whether all of it fits together: InvalidArgument naming the layer, the parameter or the tensor that does not. Looks
// at every number: parameters that are NaN or infinite, scales, zero points, codes.
absl::Status CheckQuantizedModel(const QuantizedModel& model);

// Bytes of all weights of convolutions and linear layers as they are stored: packed codes with their scales and zero
// points (4 bytes each; zero points only where one is not 0), levels and bases (likewise), and 4 bytes for every number
// of a weight that stayed float. Biases, batch norm, activation parameters and the file's header (names, shapes, the
// network's description) are not in it.
int64_t WeightBytes(const QuantizedModel& model);

// The same for the graph in float: 4 bytes for every number.
int64_t FloatWeightBytes(const Graph& graph);

// The file is a safetensors container:
//   "<layer>.weight"             quantized: U8 [O, bytes of a row], see quant/packing.h; else F32 of the weight's shape
//   "<layer>.weight_scale"       F32 [1] or [O], for quantized weights
//   "<layer>.weight_zero_point"  likewise; left out where all are 0
//   "<layer>.weight_bases"       F32 [1, bits - 1] or [O, bits - 1], where the grid has bases
//   "<layer>.bias", ...          F32
//   metadata "lowbit.network"    NetworkProto (artifact/network.proto) in text format: the graph, and bits, signedness
//                                and levels of every quantized tensor, scale and zero point of every activation
//
// The same model gives the same bytes, and what is loaded saves to the bytes it came from.
absl::StatusOr<std::string> SerializeQuantizedModel(const QuantizedModel& model);

// Atomically. CheckQuantizedModel's errors, or the disk's.
absl::Status SaveQuantizedModel(const std::string& path, const QuantizedModel& model);

// A file that is broken in any way gives an InvalidArgument that names the file and the tensor (or the layer), says
// what was got and what was wanted.
absl::StatusOr<QuantizedModel> LoadQuantizedModel(const std::string& path);

// The same from memory; messages call it `name`.
absl::StatusOr<QuantizedModel> ParseQuantizedModel(absl::string_view bytes, absl::string_view name);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_QUANTIZED_MODEL_H_
