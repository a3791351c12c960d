// The integer engine against the fake-quantized network that LibTorch runs, and each processor's kernels against the
// reference.

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "quant/fake_quant_network.h"
#include "runtime/cpu.h"
#include "runtime/network.h"
#include "runtime/network_testing.h"

namespace lowbit {
namespace {

constexpr int64_t kImages = 400;

std::vector<float> RunInteger(const QuantizedModel& model, const std::vector<float>& images) {
  const auto network = IntegerNetwork::Create(model);
  EXPECT_TRUE(network.ok()) << network.status();
  if (!network.ok()) return {};
  std::vector<float> logits(static_cast<size_t>(kImages * (*network)->outputs()));
  EXPECT_TRUE(IntegerSession(*network).Run(images.data(), kImages, logits.data()).ok());
  return logits;
}

class IntegerParityTest : public testing::TestWithParam<std::string> {
 protected:
  ~IntegerParityTest() override { unsetenv("LOWBIT_CPU"); }

  const QuantizedModel model_ = TinyModel(GetParam());
  std::vector<float> images_ = TinyImages(kImages, 3);
};

TEST_P(IntegerParityTest, EveryProcessorPutsOutTheReferencesBits) {
  setenv("LOWBIT_CPU", "reference", 1);
  const std::vector<float> wanted = RunInteger(model_, images_);
  for (const Cpu cpu : RunnableCpus()) {
    setenv("LOWBIT_CPU", std::string(CpuName(cpu)).c_str(), 1);
    EXPECT_EQ(RunInteger(model_, images_), wanted) << CpuName(cpu);
  }
}

// The logits of the fake-quantized network, [kImages, outputs].
std::vector<float> RunFakeQuantized(const QuantizedModel& model, std::vector<float> images) {
  const auto network = FakeQuantNetwork::Create(model);
  EXPECT_TRUE(network.ok()) << network.status();
  const Shape& shape = model.graph.input_shape();
  const auto logits = network->Forward(at::from_blob(images.data(), {kImages, shape[0], shape[1], shape[2]}));
  EXPECT_TRUE(logits.ok()) << logits.status();
  const at::Tensor dense = logits->contiguous();
  return std::vector<float>(dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel());
}

TEST_P(IntegerParityTest, AnswersAsTheFakeQuantizedNetworkDoes) {
  const std::vector<float> logits = RunInteger(model_, images_), wanted = RunFakeQuantized(model_, images_);
  ASSERT_EQ(logits.size(), wanted.size());
  const int64_t outputs = static_cast<int64_t>(logits.size()) / kImages;
  const float largest = std::fabs(
      *std::max_element(wanted.begin(), wanted.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
  int64_t same = 0, close = 0, equal = 0;
  for (int64_t i = 0; i < kImages; ++i) {
    const float* const ours = logits.data() + i * outputs;
    const float* const theirs = wanted.data() + i * outputs;
    same += TopK(ours, outputs, 1) == TopK(theirs, outputs, 1) ? 1 : 0;
    float most = 0;
    for (int64_t k = 0; k < outputs; ++k) most = std::max(most, std::fabs(ours[k] - theirs[k]));
    close += most <= 1e-4f * largest ? 1 : 0;
    equal += most == 0 ? 1 : 0;
  }
  // What is not close met the middle between two codes.
  EXPECT_GE(same, kImages * 99 / 100);
  EXPECT_GE(close, kImages * 97 / 100);
  // Where all sums are of codes it is one arithmetic, whoever adds the products up. (Levels has a layer with bases.)
  if (GetParam() != "levels") {
    EXPECT_EQ(equal, kImages);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, IntegerParityTest, testing::ValuesIn(TinyModelKinds()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lowbit
