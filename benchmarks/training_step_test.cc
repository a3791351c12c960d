// What the benchmark compares computes the same.

#include "benchmarks/training_step.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>

#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

double Distance(const at::Tensor& got, const at::Tensor& wanted) {
  return (got - wanted).norm().item<double>() / (1e-3 + wanted.norm().item<double>());
}

TEST(TrainingStepTest, TheExecutorsStepIsTheModules) {
  const ParameterMap initial = InitParameters(*BuildResnetCifar({}), 1);
  at::manual_seed(2);
  const at::Tensor images = at::randn({16, 3, 32, 32});
  const at::Tensor labels = at::arange(16).remainder(10);
  // One order for both: another one sums in another order, which turns a relu near zero on or off now and then, and the
  // gradients then differ by more than rounding. The Executor's is channels-last.
  const auto own = MakeExecutorStep(initial);
  const auto modules = MakeModuleStep(initial, at::MemoryFormat::ChannelsLast);
  const auto other_order = MakeModuleStep(initial, at::MemoryFormat::Contiguous);
  const double loss = modules->Run(images, labels);
  EXPECT_NEAR(own->Run(images, labels), loss, 1e-5 * loss);
  EXPECT_NEAR(other_order->Run(images, labels), loss, 1e-5 * loss);
  const ParameterMap after = own->parameters(), wanted = modules->parameters(), roughly = other_order->parameters();
  for (const auto& [name, value] : initial) {
    SCOPED_TRACE(name);
    EXPECT_GT(Distance(wanted.at(name), value), 1e-5);  // It was a step.
    EXPECT_LT(Distance(after.at(name), wanted.at(name)), 1e-5);
    EXPECT_LT(Distance(after.at(name), roughly.at(name)), 1e-2);
  }
  // The momentum of the first step is in the second.
  const double second = modules->Run(images, labels);
  EXPECT_LT(second, loss);
  EXPECT_NEAR(own->Run(images, labels), second, 1e-3 * second);
}

TEST(TrainingStepTest, MixedPrecisionIsNear) {
  if (!HasBFloat16(at::kCPU)) GTEST_SKIP() << "no AVX512-BF16 here";
  const ParameterMap initial = InitParameters(*BuildResnetCifar({}), 1);
  at::manual_seed(2);
  const at::Tensor images = at::randn({16, 3, 32, 32});
  const at::Tensor labels = at::arange(16).remainder(10);
  ExecutorOptions mixed;
  mixed.bfloat16 = true;
  const double loss = MakeExecutorStep(initial)->Run(images, labels);
  EXPECT_NEAR(MakeExecutorStep(initial, mixed)->Run(images, labels), loss, 0.02 * loss);
}

}  // namespace
}  // namespace lowbit
