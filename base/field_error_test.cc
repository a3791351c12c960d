#include "base/field_error.h"

#include <cmath>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(FieldErrorTest, KeepsFieldBesideTheMessage) {
  const absl::Status status = FieldError("bits", "must be in [1, 8], got 12");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "must be in [1, 8], got 12");
  EXPECT_EQ(ErrorField(status), "bits");
}

TEST(FieldErrorTest, PrependBuildsThePath) {
  absl::Status status = FieldError("bits", "message");
  status = PrependField(status, "quantizer");
  EXPECT_EQ(ErrorField(status), "quantizer.bits");
  status = PrependField(status, "rules[0]");
  EXPECT_EQ(ErrorField(status), "rules[0].quantizer.bits");
  EXPECT_EQ(status.message(), "message");
}

TEST(FieldErrorTest, PrependPutsNoDotBeforeAnIndex) {
  EXPECT_EQ(ErrorField(PrependField(FieldError("[2]", ""), "values")), "values[2]");
  EXPECT_EQ(ErrorField(PrependField(FieldError("bits", ""), "")), "bits");
  EXPECT_EQ(ErrorField(PrependField(FieldError("", ""), "rules[1]")), "rules[1]");
}

TEST(FieldErrorTest, PrependGivesAFieldToAnyError) {
  absl::Status plain = absl::NotFoundError("unknown quantizer");
  plain.SetPayload("other", absl::Cord("kept"));
  EXPECT_EQ(ErrorField(plain), std::nullopt);
  const absl::Status status = PrependField(plain, "name");
  EXPECT_EQ(ErrorField(status), "name");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "unknown quantizer");
  EXPECT_EQ(*status.GetPayload("other"), "kept");
}

TEST(CheckFieldRangeTest, TakesBothEndsAndNothingElse) {
  for (const double inside : {-1.0, 0.0, 2.5}) {
    EXPECT_EQ(CheckFieldRange("rate", inside, -1, 2.5, "in [-1, 2.5]"), absl::OkStatus());
  }
  const absl::Status status = CheckFieldRange("rate", 2.75, -1, 2.5, "in [-1, 2.5]");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorField(status), "rate");
  EXPECT_EQ(status.message(), "must be in [-1, 2.5], got 2.75");
  EXPECT_EQ(CheckFieldRange("epochs", 0, 1, 1e9, "at least 1").message(), "must be at least 1, got 0");
  EXPECT_EQ(CheckFieldRange("rate", std::nan(""), 0, 1, "in [0, 1]").message(), "must be in [0, 1], got nan");
}

TEST(FieldErrorTest, OkStaysOk) {
  EXPECT_TRUE(PrependField(absl::OkStatus(), "name").ok());
  EXPECT_EQ(ErrorField(absl::OkStatus()), std::nullopt);
}

}  // namespace
}  // namespace lowbit
