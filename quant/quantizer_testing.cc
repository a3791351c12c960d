#include "quant/quantizer_testing.h"

#include <ATen/ops/tensor.h>

#include "google/protobuf/any.pb.h"
#include "gtest/gtest.h"
#include "quant/quantizer_registry.h"
#include "quant/statistics.h"

namespace lowbit {

absl::StatusOr<std::unique_ptr<Quantizer>> CreateQuantizerWith(absl::string_view name,
                                                               const google::protobuf::Message& options) {
  google::protobuf::Any any;
  any.PackFrom(options);
  return CreateQuantizer(name, &any);
}

QuantParams FitValues(const Quantizer& quantizer, const std::vector<float>& values, int bits, int64_t images) {
  TensorStatistics statistics(quantizer.stats_request());
  EXPECT_TRUE(statistics.Observe(at::tensor(values).view({images, -1})).ok());
  const Layer relu{"relu", Relu{}, {0}};
  return *quantizer.FitActivation(ActivationView{relu, statistics, bits});
}

QuantizedTensor QuantizeRows(const Quantizer& quantizer, const std::vector<float>& weight, int64_t rows, int bits) {
  const int64_t columns = static_cast<int64_t>(weight.size()) / rows;
  const Layer layer{"fc", Linear{columns, rows, false}, {0}};
  return *quantizer.QuantizeWeight(WeightView{layer, at::tensor(weight).view({rows, columns}), bits});
}

std::vector<int32_t> Codes(const at::Tensor& codes) {
  return std::vector<int32_t>(codes.data_ptr<int32_t>(), codes.data_ptr<int32_t>() + codes.numel());
}

}  // namespace lowbit
