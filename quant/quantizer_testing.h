#ifndef LOWBIT_QUANT_QUANTIZER_TESTING_H_
#define LOWBIT_QUANT_QUANTIZER_TESTING_H_

// What the tests of quantizers do again and again.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "quant/input_statistics.h"
#include "quant/quantizer.h"

namespace lowbit {

// As a config would have it made.
absl::StatusOr<std::unique_ptr<Quantizer>> CreateQuantizerWith(absl::string_view name,
                                                               const google::protobuf::Message& options);

// The parameters for an activation of these values, which so many images share equally, one after the other.
QuantParams FitValues(const Quantizer& quantizer, const std::vector<float>& values, int bits, int64_t images = 1);

// The weight of a linear layer with so many outputs, row after row.
QuantizedTensor QuantizeRows(const Quantizer& quantizer, const std::vector<float>& weight, int64_t rows, int bits,
                             const InputStatistics* input = nullptr);

// Moments of a linear layer's input, of its second moments row by row; mean 0.
InputStatistics MomentsOf(const std::vector<double>& gram);

// Inputs of a linear layer that depend on each other, as those of a network do: count rows of `size` numbers, each a
// mixture of a few normal ones, rectified.
at::Tensor CorrelatedInputs(int64_t count, int64_t size, uint64_t seed);

// tr((W - Q) G (W - Q)^T) of a linear layer: the squared error of its outputs.
double OutputError(const at::Tensor& weight, const QuantizedTensor& quantized, const InputStatistics& input);

std::vector<int32_t> Codes(const at::Tensor& codes);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_QUANTIZER_TESTING_H_
