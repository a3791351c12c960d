// The integer engine against the fake-quantized network that LibTorch runs, and each processor's kernels against the
// reference.

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/executor.h"
#include "quant/fake_quant_model.h"
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

TEST_P(IntegerParityTest, AnswersAsTheFakeQuantizedNetworkDoes) {
  const std::vector<float> logits = RunInteger(model_, images_);
  auto parameters = FakeQuantParameters(model_);
  ASSERT_TRUE(parameters.ok()) << parameters.status();
  const auto executor = Executor::Create(model_.graph, *std::move(parameters));
  ASSERT_TRUE(executor.ok()) << executor.status();
  FakeQuantHook hook(model_);
  const Shape& shape = model_.graph.input_shape();
  const auto wanted = executor->Forward(at::from_blob(images_.data(), {kImages, shape[0], shape[1], shape[2]}), &hook);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  const at::Tensor fake = wanted->contiguous();
  const int64_t outputs = fake.size(1);
  ASSERT_EQ(logits.size(), static_cast<size_t>(fake.numel()));
  int64_t same = 0, close = 0;
  const float largest = fake.abs().max().item<float>();
  for (int64_t i = 0; i < kImages; ++i) {
    const float* const ours = logits.data() + i * outputs;
    const float* const theirs = fake.data_ptr<float>() + i * outputs;
    same += TopK(ours, outputs, 1) == TopK(theirs, outputs, 1) ? 1 : 0;
    float most = 0;
    for (int64_t k = 0; k < outputs; ++k) most = std::max(most, std::fabs(ours[k] - theirs[k]));
    close += most <= 1e-4f * largest ? 1 : 0;
  }
  // What is not close met the middle between two codes.
  EXPECT_GE(same, kImages * 99 / 100);
  EXPECT_GE(close, kImages * 97 / 100);
}

INSTANTIATE_TEST_SUITE_P(Kinds, IntegerParityTest, testing::ValuesIn(TinyModelKinds()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lowbit
