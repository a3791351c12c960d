#include "quant/quantizer_testing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "base/random.h"
#include "google/protobuf/any.pb.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"
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

QuantizedTensor QuantizeRows(const Quantizer& quantizer, const std::vector<float>& weight, int64_t rows, int bits,
                             const InputStatistics* input) {
  const int64_t columns = static_cast<int64_t>(weight.size()) / rows;
  const Layer layer{"fc", Linear{columns, rows, false}, {0}};
  return *quantizer.QuantizeWeight(WeightView{layer, at::tensor(weight).view({rows, columns}), bits, input});
}

InputStatistics MomentsOf(const std::vector<double>& gram) {
  const int64_t size = std::lround(std::sqrt(static_cast<double>(gram.size())));
  return InputStatistics::FromMoments(Linear{size, 1, false}, at::tensor(gram, at::kDouble).view({1, size, size}),
                                      at::zeros({1, size}, at::kDouble), 1, 1);
}

at::Tensor CorrelatedInputs(int64_t count, int64_t size, uint64_t seed) {
  Rng rng({seed});
  const int64_t sources = size / 4 + 1;
  const auto normal = [&](int64_t rows, int64_t columns) {
    at::Tensor x = at::empty({rows, columns}, at::kFloat);
    for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.Normal());
    return x;
  };
  return (at::mm(normal(count, sources), normal(sources, size)) + normal(count, size)).clamp_min(0);
}

double OutputError(const at::Tensor& weight, const QuantizedTensor& quantized, const InputStatistics& input) {
  const at::Tensor error = (weight - Dequantize(quantized.codes, quantized.params)).to(at::kDouble);
  return (at::mm(error, input.Gram()[0]) * error).sum().item<double>();
}

std::vector<int32_t> Codes(const at::Tensor& codes) {
  return std::vector<int32_t>(codes.data_ptr<int32_t>(), codes.data_ptr<int32_t>() + codes.numel());
}

}  // namespace lowbit
