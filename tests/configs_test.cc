// Every file in configs/ makes a run, and every file in tests/bad_configs/ gets the message that its first line holds.

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/resnet.h"
#include "pipeline/config.h"
#include "pipeline/effective_config.h"
#include "pipeline/paths.h"
#include "pipeline/run_plan.h"
#include "quant/fake_quant_model.h"
#include "tests/blank_dataset.h"

namespace lowbit {
namespace {

constexpr char kGood[] = "configs";
constexpr char kBad[] = "tests/bad_configs";

std::vector<std::string> FilesIn(const char* folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".textproto") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string PathOf(const char* folder, const std::string& name) {
  return absl::StrCat(folder, "/", name, ".textproto");
}

// Without looking at an image.
absl::StatusOr<RunPlan> Plan(const Config& config) {
  PlanOptions options;
  if (!config.proto().has_dataset()) options.open_data = &BlankDataset::Open;
  return PlanRun(config, options);
}

// A folder as runs leave it, with a packed model for configs that name none.
std::string FolderWithARun() {
  const std::string folder = JoinPath(testing::TempDir(), "out");
  const Graph graph = *BuildResnetCifar({});
  const auto model = ToQuantizedModel(Model{graph, InitParameters(graph, 1)});
  EXPECT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE(MakeDirs(JoinPath(folder, "run-1")).ok());
  EXPECT_TRUE(SaveQuantizedModel(JoinPath(folder, "run-1/model.safetensors"), *model).ok());
  return folder;
}

class GoodConfigTest : public testing::TestWithParam<std::string> {};

TEST_P(GoodConfigTest, IsPlannedAndSoIsWhatItStandsFor) {
  const std::string path = PathOf(kGood, GetParam());
  auto config = Config::Parse(*ReadFile(path), path);
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_TRUE(config->Set("output_dir", FolderWithARun(), "the test").ok());
  const auto plan = Plan(*config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(PlanText(*plan), testing::HasSubstr(absl::StrCat("config  ", GetParam())));

  // The effective config is a config, and its own effective config.
  const std::string text = ConfigText(plan->config);
  const auto effective = Config::Parse(text, "config.textproto");
  ASSERT_TRUE(effective.ok()) << effective.status();
  EXPECT_EQ(ConfigText(EffectiveConfig(effective->proto())), text);
}

INSTANTIATE_TEST_SUITE_P(Configs, GoodConfigTest, testing::ValuesIn(FilesIn(kGood)),
                         [](const auto& info) { return info.param; });

class BadConfigTest : public testing::TestWithParam<std::string> {};

TEST_P(BadConfigTest, IsRefusedWithTheMessageInItsFirstLine) {
  const std::string text = *ReadFile(PathOf(kBad, GetParam()));
  absl::string_view wanted = absl::string_view(text).substr(0, text.find('\n'));
  ASSERT_TRUE(absl::ConsumePrefix(&wanted, "# ")) << "the first line should be: # <message>";

  const auto config = Config::Parse(text, absl::StrCat(GetParam(), ".textproto"));
  const absl::Status status = config.ok() ? Plan(*config).status() : config.status();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(std::string(status.message()), std::string(wanted));
}

INSTANTIATE_TEST_SUITE_P(Configs, BadConfigTest, testing::ValuesIn(FilesIn(kBad)),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lowbit
