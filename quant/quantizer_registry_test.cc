#include "quant/quantizer_registry.h"

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "gmock/gmock.h"
#include "google/protobuf/wrappers.pb.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using google::protobuf::Any;
using google::protobuf::Int32Value;
using google::protobuf::StringValue;

class WithNumber : public Quantizer {
 public:
  explicit WithNumber(int number) : number(number) {}
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const Int32Value& options) {
    if (options.value() < 0) return FieldError("value", absl::StrCat("must not be negative, got ", options.value()));
    return std::unique_ptr<Quantizer>(new WithNumber(options.value()));
  }
  absl::Status Supports(const Layer&, Role, int) const override { return absl::OkStatus(); }
  const int number;
};

class Other : public Quantizer {
 public:
  static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const StringValue&) {
    return std::unique_ptr<Quantizer>(new Other);
  }
  absl::Status Supports(const Layer&, Role, int) const override { return absl::OkStatus(); }
};

LOWBIT_REGISTER_QUANTIZER("with_number", Int32Value, WithNumber);
LOWBIT_REGISTER_QUANTIZER("other", StringValue, Other);

Any Pack(const google::protobuf::Message& options) {
  Any any;
  any.PackFrom(options);
  return any;
}

Int32Value Number(int value) {
  Int32Value options;
  options.set_value(value);
  return options;
}

TEST(QuantizerRegistryTest, CreatesByNameWithOptions) {
  const Any any = Pack(Number(7));
  const auto quantizer = CreateQuantizer("with_number", &any);
  ASSERT_TRUE(quantizer.ok()) << quantizer.status();
  EXPECT_EQ(static_cast<const WithNumber&>(**quantizer).number, 7);
  EXPECT_EQ((*quantizer)->name(), "with_number");
}

TEST(QuantizerRegistryTest, NoOptionsMeanTheDefaults) {
  const Any empty;
  for (const Any* options : {static_cast<const Any*>(nullptr), &empty}) {
    const auto quantizer = CreateQuantizer("with_number", options);
    ASSERT_TRUE(quantizer.ok()) << quantizer.status();
    EXPECT_EQ(static_cast<const WithNumber&>(**quantizer).number, 0);
  }
}

TEST(QuantizerRegistryTest, UnknownNames) {
  const absl::Status status = CreateQuantizer("withnumber").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            "unknown quantizer \"withnumber\"; did you mean \"with_number\"? (known: other, with_number)");
  EXPECT_EQ(ErrorField(status), "name");
  EXPECT_EQ(QuantizerOptions("nothing_like_it").status().code(), absl::StatusCode::kNotFound);
}

TEST(QuantizerRegistryTest, OptionsOfAnotherQuantizer) {
  const Any any = Pack(StringValue());
  const absl::Status status = CreateQuantizer("with_number", &any).status();
  EXPECT_EQ(status.message(),
            "quantizer \"with_number\" takes google.protobuf.Int32Value, got google.protobuf.StringValue");
  EXPECT_EQ(ErrorField(status), "options");
}

TEST(QuantizerRegistryTest, GarbageInTheAny) {
  Any any = Pack(Number(7));
  any.set_value("\xFF\xFF\xFF");
  const absl::Status status = CreateQuantizer("with_number", &any).status();
  EXPECT_EQ(status.message(), "the bytes in the Any are no google.protobuf.Int32Value");
  EXPECT_EQ(ErrorField(status), "options");
}

TEST(QuantizerRegistryTest, RefusedOptionsAreNamed) {
  const Any any = Pack(Number(-1));
  const absl::Status status = CreateQuantizer("with_number", &any).status();
  EXPECT_EQ(status.message(), "must not be negative, got -1");
  EXPECT_EQ(ErrorField(status), "options.value");
}

TEST(QuantizerRegistryTest, ListsNamesAndOptions) {
  EXPECT_THAT(QuantizerNames(), testing::ElementsAre("other", "with_number"));
  const auto options = QuantizerOptions("with_number");
  ASSERT_TRUE(options.ok());
  EXPECT_EQ((*options)->GetDescriptor()->full_name(), "google.protobuf.Int32Value");
}

}  // namespace
}  // namespace lowbit
