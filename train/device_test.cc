#include "train/device.h"

#include <ATen/Context.h>

#include "base/field_error.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

std::string Refusal(const std::string& name) {
  const absl::Status status = ParseDevice(name).status();
  EXPECT_EQ(ErrorField(status), "device");
  return std::string(status.message());
}

TEST(ParseDeviceTest, KnowsTheCpu) {
  for (const char* name : {"cpu", "cpu:0"}) {
    const auto device = ParseDevice(name);
    ASSERT_TRUE(device.ok()) << device.status();
    // As a tensor has it, so that nothing is moved that is there already.
    EXPECT_EQ(*device, c10::Device(c10::kCPU));
  }
}

TEST(ParseDeviceTest, RefusesOtherNames) {
  const std::string wanted = "must be \"cpu\", \"cuda\" or \"cuda:<number>\", got ";
  EXPECT_EQ(Refusal(""), wanted + "\"\"");
  EXPECT_EQ(Refusal("gpu"), wanted + "\"gpu\"");
  EXPECT_EQ(Refusal("CUDA"), wanted + "\"CUDA\"");
  EXPECT_EQ(Refusal("cuda:"), wanted + "\"cuda:\"");
  EXPECT_EQ(Refusal("cuda:-1"), wanted + "\"cuda:-1\"");
  EXPECT_EQ(Refusal("cuda:1:2"), wanted + "\"cuda:1:2\"");
  EXPECT_EQ(Refusal("cuda:99999999999"), wanted + "\"cuda:99999999999\"");
  EXPECT_EQ(Refusal("mkldnn"), wanted + "\"mkldnn\"");  // LibTorch's, but not for this
  EXPECT_EQ(Refusal("meta"), wanted + "\"meta\"");
}

// Each machine takes one of the three ways.
TEST(ParseDeviceTest, SaysWhyThereIsNoGpu) {
  if (!at::globalContext().hasCUDART()) {
    EXPECT_EQ(Refusal("cuda:1"),
              "this LibTorch was built without CUDA, got \"cuda:1\"; set LIBTORCH to the folder of one that was built "
              "with it");
  } else if (!at::hasCUDA()) {
    EXPECT_EQ(Refusal("cuda"), "LibTorch finds 0 GPUs on this machine, numbered from 0; got \"cuda\"");
  } else {
    EXPECT_EQ(*ParseDevice("cuda"), c10::Device(c10::kCUDA, 0));
    EXPECT_NE(Refusal("cuda:100").find("numbered from 0; got \"cuda:100\""), std::string::npos);
  }
}

}  // namespace
}  // namespace lowbit
