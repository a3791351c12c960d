#include "base/status_macros.h"

#include <map>
#include <memory>
#include <string>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

absl::Status ReturnIfError(const absl::Status& status, bool* reached_end) {
  LOWBIT_RETURN_IF_ERROR(status);
  *reached_end = true;
  return absl::OkStatus();
}

TEST(StatusMacrosTest, ReturnIfErrorReturnsOnlyErrors) {
  bool reached_end = false;
  EXPECT_EQ(ReturnIfError(absl::DataLossError("torn"), &reached_end), absl::DataLossError("torn"));
  EXPECT_FALSE(reached_end);
  EXPECT_EQ(ReturnIfError(absl::OkStatus(), &reached_end), absl::OkStatus());
  EXPECT_TRUE(reached_end);
}

TEST(StatusMacrosTest, ReturnIfErrorIsOneStatement) {
  const auto function = [](bool first) -> absl::Status {
    if (first)
      LOWBIT_RETURN_IF_ERROR(absl::DataLossError("first"));
    else
      LOWBIT_RETURN_IF_ERROR(absl::DataLossError("second"));
    return absl::OkStatus();
  };
  EXPECT_EQ(function(true).message(), "first");
  EXPECT_EQ(function(false).message(), "second");
}

absl::StatusOr<std::string> Sum(absl::StatusOr<int> a, absl::StatusOr<int> b) {
  LOWBIT_ASSIGN_OR_RETURN(const int first, a);
  int second = 0;
  LOWBIT_ASSIGN_OR_RETURN(second, b);
  return std::to_string(first + second);
}

TEST(StatusMacrosTest, AssignOrReturn) {
  EXPECT_EQ(*Sum(40, 2), "42");
  EXPECT_EQ(Sum(absl::NotFoundError("a"), 2).status(), absl::NotFoundError("a"));
  EXPECT_EQ(Sum(40, absl::NotFoundError("b")).status(), absl::NotFoundError("b"));
}

TEST(StatusMacrosTest, AssignOrReturnMovesAndTakesCommas) {
  const auto function = []() -> absl::StatusOr<std::map<int, std::unique_ptr<int>>> {
    const auto make = [](auto value) -> absl::StatusOr<std::unique_ptr<int>> { return std::make_unique<int>(value); };
    LOWBIT_ASSIGN_OR_RETURN(std::unique_ptr<int> seven, make(std::pair<int, int>(7, 8).first));
    std::map<int, std::unique_ptr<int>> result;
    result[0] = std::move(seven);
    return result;
  };
  EXPECT_EQ(*function()->at(0), 7);
}

}  // namespace
}  // namespace lowbit
