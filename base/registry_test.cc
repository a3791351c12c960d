#include "base/registry.h"

#include <functional>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using Factory = std::function<std::unique_ptr<int>(int)>;

TEST(RegistryTest, FindsWhatWasRegistered) {
  Registry<Factory> registry("number");
  EXPECT_TRUE(registry.Register("twice", [](int x) { return std::make_unique<int>(2 * x); }));
  EXPECT_TRUE(registry.Register("square", [](int x) { return std::make_unique<int>(x * x); }));
  const absl::StatusOr<const Factory*> twice = registry.Find("twice");
  const absl::StatusOr<const Factory*> square = registry.Find("square");
  ASSERT_TRUE(twice.ok());
  ASSERT_TRUE(square.ok());
  EXPECT_EQ(*(**twice)(5), 10);
  EXPECT_EQ(*(**square)(5), 25);
  EXPECT_EQ(*registry.Find("twice"), *twice) << "an entry stays where it is";
  EXPECT_THAT(registry.Names(), testing::ElementsAre("square", "twice"));
}

TEST(RegistryTest, UnknownNameIsNotFound) {
  Registry<int> registry("quantizer");
  EXPECT_EQ(registry.Find("mse").status().message(), "unknown quantizer \"mse\" (none is known)");
  registry.Register("per_channel", 1);
  registry.Register("min_max", 2);
  EXPECT_EQ(
      registry.Find("min-max").status(),
      absl::NotFoundError("unknown quantizer \"min-max\"; did you mean \"min_max\"? (known: min_max, per_channel)"));
}

TEST(RegistryDeathTest, RegistrationMistakesEndTheProcess) {
  Registry<int> registry("quantizer");
  registry.Register("min_max", 1);
  EXPECT_DEATH(registry.Register("min_max", 2), "the quantizer \"min_max\" was registered twice");
  EXPECT_DEATH(registry.Register("", 2), "a quantizer was registered without a name");
}

}  // namespace
}  // namespace lowbit
