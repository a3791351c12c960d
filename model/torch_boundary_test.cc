#include "model/torch_boundary.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(CatchTorchTest, PassesResultsOn) {
  bool ran = false;
  const absl::Status nothing = CatchTorch([&] { ran = true; });
  EXPECT_TRUE(nothing.ok()) << nothing;
  EXPECT_TRUE(ran);

  const absl::StatusOr<int> value = CatchTorch([] { return 7; });
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(*value, 7);

  const absl::StatusOr<int> status_or = CatchTorch([]() -> absl::StatusOr<int> { return 8; });
  ASSERT_TRUE(status_or.ok()) << status_or.status();
  EXPECT_EQ(*status_or, 8);

  EXPECT_TRUE(CatchTorch([] { return absl::OkStatus(); }).ok());
}

TEST(CatchTorchTest, PassesErrorsOn) {
  const auto fail = [] { return absl::NotFoundError("gone"); };
  EXPECT_EQ(CatchTorch(fail), absl::NotFoundError("gone"));
  EXPECT_EQ(CatchTorch([&]() -> absl::StatusOr<int> { return fail(); }).status(), absl::NotFoundError("gone"));
}

// A StatusOr is not wrapped once more, a reference becomes a value.
TEST(CatchTorchTest, ReturnTypes) {
  const auto nothing = [] {};
  const auto status = [] { return absl::OkStatus(); };
  const auto value = [] { return 1; };
  const auto status_or = []() -> absl::StatusOr<int> { return 1; };
  const int one = 1;
  const auto reference = [&]() -> const int& { return one; };
  EXPECT_TRUE((std::is_same_v<decltype(CatchTorch(nothing)), absl::Status>));
  EXPECT_TRUE((std::is_same_v<decltype(CatchTorch(status)), absl::Status>));
  EXPECT_TRUE((std::is_same_v<decltype(CatchTorch(value)), absl::StatusOr<int>>));
  EXPECT_TRUE((std::is_same_v<decltype(CatchTorch(status_or)), absl::StatusOr<int>>));
  EXPECT_TRUE((std::is_same_v<decltype(CatchTorch(reference)), absl::StatusOr<int>>));
}

TEST(CatchTorchTest, MovesValuesThatCannotBeCopied) {
  const auto value = CatchTorch([] { return std::make_unique<int>(3); });
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(**value, 3);
}

TEST(CatchTorchTest, LibTorchErrorsComeWithoutStackTrace) {
  const absl::Status thrown = CatchTorch([] { TORCH_CHECK(false, "the flux is ", 5); });
  EXPECT_EQ(thrown, absl::InternalError("LibTorch: the flux is 5"));

  const auto product = CatchTorch([] { return at::matmul(at::ones({2, 3}), at::ones({2, 3})); });
  EXPECT_EQ(product.status().code(), absl::StatusCode::kInternal);
  const std::string message(product.status().message());
  EXPECT_THAT(message, StartsWith("LibTorch: "));
  EXPECT_THAT(message, HasSubstr("shapes cannot be multiplied (2x3 and 2x3)"));
  EXPECT_THAT(message, Not(HasSubstr("frame #")));
  EXPECT_THAT(message, Not(HasSubstr("Exception raised from")));
}

TEST(CatchTorchTest, OutOfMemoryIsResourceExhausted) {
  EXPECT_EQ(CatchTorch([] { throw std::bad_alloc(); }), absl::ResourceExhaustedError("out of memory"));
  EXPECT_EQ(CatchTorch([]() -> absl::StatusOr<int> { throw std::bad_alloc(); }).status(),
            absl::ResourceExhaustedError("out of memory"));
}

TEST(CatchTorchTest, OtherExceptionsKeepTheirMessage) {
  EXPECT_EQ(CatchTorch([] { throw std::runtime_error("no luck"); }), absl::InternalError("no luck"));
  EXPECT_EQ(CatchTorch([]() -> int { throw std::out_of_range("too far"); }).status(), absl::InternalError("too far"));
}

}  // namespace
}  // namespace lowbit
