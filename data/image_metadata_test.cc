#include "data/image_metadata.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ImageMetadata, ComesBackAsItWasStored) {
  std::map<std::string, std::string> metadata = {{"made.by", "me"}};
  Normalization normalization;
  normalization.std = {1.0f / 3, 1e-30f, 16777217.0f};
  StoreImageMetadata(normalization, {"a cat, asleep", "dog"}, &metadata);
  EXPECT_EQ(metadata["lowbit.mean"], "0.4914,0.4822,0.4465");
  EXPECT_EQ(metadata["lowbit.classes"], "a cat, asleep\ndog");
  EXPECT_EQ(metadata["made.by"], "me");
  EXPECT_EQ(StoredMean(metadata).value(), normalization.mean);
  EXPECT_EQ(StoredStd(metadata).value(), normalization.std);
  EXPECT_THAT(StoredClassNames(metadata), ElementsAre("a cat, asleep", "dog"));
}

TEST(ImageMetadata, OfUnknownClassesNothingStays) {
  std::map<std::string, std::string> metadata = {{"lowbit.classes", "others"}};
  StoreImageMetadata(Normalization(), {}, &metadata);
  EXPECT_EQ(metadata.count("lowbit.classes"), 0u);
  EXPECT_THAT(StoredClassNames(metadata), IsEmpty());
}

TEST(ImageMetadata, ErrorsNameTheKey) {
  EXPECT_EQ(StoredMean({}).status(), absl::NotFoundError("the model has no metadata \"lowbit.mean\""));
  EXPECT_EQ(
      StoredStd({{"lowbit.std", "1,,2"}}).status(),
      absl::InvalidArgumentError("metadata \"lowbit.std\": wanted numbers with commas between them, got \"1,,2\""));
  for (const char* text : {"", "1;2", "nan", "1,inf", "1e99", "1 2"}) {
    EXPECT_FALSE(ParseChannelNumbers("x", text).ok()) << text;
  }
  EXPECT_THAT(ParseChannelNumbers("x", " 0.5, 1").value(), ElementsAre(0.5f, 1.0f));
}

}  // namespace
}  // namespace lowbit
