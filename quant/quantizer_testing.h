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
#include "quant/quantizer.h"

namespace lowbit {

// As a config would have it made.
absl::StatusOr<std::unique_ptr<Quantizer>> CreateQuantizerWith(absl::string_view name,
                                                               const google::protobuf::Message& options);

// The parameters for an activation of these values, which so many images share equally, one after the other.
QuantParams FitValues(const Quantizer& quantizer, const std::vector<float>& values, int bits, int64_t images = 1);

// The weight of a linear layer with so many outputs, row after row.
QuantizedTensor QuantizeRows(const Quantizer& quantizer, const std::vector<float>& weight, int64_t rows, int bits);

std::vector<int32_t> Codes(const at::Tensor& codes);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_QUANTIZER_TESTING_H_
