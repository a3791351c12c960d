#include "pipeline/threads.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "quant/input_statistics.h"
#include "quant/layer_regression.h"
#include "quant/quantizer_registry.h"
#include "quant/quantizer_testing.h"

namespace lowbit {
namespace {

// As many inputs as the last convolutions of ResNet-20 have: matrices that BLAS and LAPACK share out among threads.
constexpr int64_t kSize = 576;

class ThreadsTest : public testing::Test {
 protected:
  void TearDown() override { SetThreads(0); }

  const Layer layer_{"fc", Linear{kSize, 8, true}, {0}};
  const at::Tensor x_ = CorrelatedInputs(700, kSize, 1);
  const at::Tensor weight_ = CorrelatedInputs(8, kSize, 2) - CorrelatedInputs(8, kSize, 3);
};

QuantizedTensor QuantizeWith(absl::string_view name, const Layer& layer, const at::Tensor& weight, int bits,
                             const InputStatistics& input) {
  const auto quantizer = CreateQuantizer(name);
  EXPECT_TRUE(quantizer.ok()) << quantizer.status();
  return *(*quantizer)->QuantizeWeight({layer, weight, bits, &input});
}

// (The factor of the Gram matrix is not, to the last bit.)
TEST_F(ThreadsTest, CodesAreTheSameForAnyNumber) {
  for (const absl::string_view name : {"gptq", "obq"}) {
    std::vector<at::Tensor> codes;
    for (const int threads : {1, 2}) {
      SetThreads(threads);
      InputStatistics input(layer_.op);
      ASSERT_TRUE(input.Observe(x_).ok());
      codes.push_back(QuantizeWith(name, layer_, weight_, 4, input).codes);
    }
    EXPECT_TRUE(at::equal(codes[0], codes[1])) << name;
  }
}

// What `sequential` of the quantize step does for a layer.
TEST_F(ThreadsTest, FittedWeightsHaveTheSameCodesForAnyNumber) {
  const at::Tensor target = at::linear(x_, weight_);
  std::vector<at::Tensor> codes;
  for (const int threads : {1, 2}) {
    SetThreads(threads);
    LayerRegression regression(layer_.op);
    ASSERT_TRUE(regression.Observe(x_.clamp_max(1.5), target).ok());
    const auto weight = regression.FitWeight(weight_, 0.1);
    ASSERT_TRUE(weight.ok()) << weight.status();
    codes.push_back(QuantizeWith("gptq", layer_, *weight, 4, regression.Moments()).codes);
  }
  EXPECT_TRUE(at::equal(codes[0], codes[1]));
}

}  // namespace
}  // namespace lowbit
