// Every file in configs/ makes a run, and every file in tests/bad_configs/ gets the message that its first line holds.

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"
#include "model/parameters.h"
#include "model/passes/fold_batch_norm.h"
#include "model/resnet.h"
#include "pipeline/config.h"
#include "pipeline/effective_config.h"
#include "pipeline/paths.h"
#include "pipeline/plan_text.h"
#include "pipeline/run_plan.h"
#include "quant/fake_quant_model.h"
#include "quant/quantizer_registry.h"
#include "tests/blank_dataset.h"
#include "torch_int8/torch_int8_model.h"

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

// A folder as runs leave it, with a model of each kind for configs that name none.
std::string MakeFolderWithARun() {
  const std::string folder = JoinPath(testing::TempDir(), "out");
  EXPECT_TRUE(MakeDirs(JoinPath(folder, "run-1")).ok());
  const Graph graph = *BuildResnetCifar({});
  const Model model{graph, InitParameters(graph, 1)};
  EXPECT_TRUE(SaveParameters(JoinPath(folder, "run-1/best.safetensors"), model.parameters).ok());
  const auto quantized = ToQuantizedModel(model);
  EXPECT_TRUE(quantized.ok()) << quantized.status();
  EXPECT_TRUE(SaveQuantizedModel(JoinPath(folder, "run-1/model.safetensors"), *quantized).ok());

  const auto fold = FoldBatchNorm(model);
  EXPECT_TRUE(fold.ok()) << fold.status();
  const Model& folded = fold->model;
  std::map<std::string, QuantParams> scales;
  for (const int i : TorchInt8Tensors(folded.graph)) {
    QuantParams& params = scales[folded.graph.layer(i).name];
    params.is_signed = false;
    params.scale = {0.1f};
    params.zero_point = {128};
  }
  const auto int8 = TorchInt8Model::Create(folded, scales, TorchInt8Engines().front());
  EXPECT_TRUE(int8.ok()) << int8.status();
  EXPECT_TRUE(int8->Save(JoinPath(folder, "run-1/int8.pt")).ok());
  return folder;
}

const std::string& FolderWithARun() {
  static const auto& folder = *new std::string(MakeFolderWithARun());
  return folder;
}

// As a training of the wide network leaves it.
std::string MakeFolderWithAWideRun() {
  const std::string folder = JoinPath(testing::TempDir(), "wide_out");
  EXPECT_TRUE(MakeDirs(JoinPath(folder, "run-1")).ok());
  const ParameterMap parameters = InitParameters(*BuildBasicBlockResnet({}), 1);
  EXPECT_TRUE(SaveParameters(JoinPath(folder, "run-1/best.safetensors"), parameters, {}, at::kHalf).ok());
  return folder;
}

const std::string& FolderWithAWideRun() {
  static const auto& folder = *new std::string(MakeFolderWithAWideRun());
  return folder;
}

class GoodConfigTest : public testing::TestWithParam<std::string> {};

TEST_P(GoodConfigTest, IsPlannedAndSoIsWhatItStandsFor) {
  const std::string path = PathOf(kGood, GetParam());
  auto config = Config::Parse(*ReadFile(path), path);
  ASSERT_TRUE(config.ok()) << config.status();
  const bool wide = config->proto().model().has_basic_block_resnet();
  ASSERT_TRUE(config->Set("output_dir", wide ? FolderWithAWideRun() : FolderWithARun(), "the test").ok());
  for (int i = 0; i < config->proto().steps_size() && !HasBFloat16(at::kCPU); ++i) {
    if (!config->proto().steps(i).train().bfloat16()) continue;
    ASSERT_TRUE(config->Set(absl::StrCat("steps[", i, "].train.bfloat16"), "false", "the test").ok());
  }
  const auto plan = Plan(*config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(PlanText(*plan), testing::HasSubstr(absl::StrCat("config  ", GetParam())));

  // What a run records is a config that comes to the same plan, and records the same.
  const std::string text = ConfigText(plan->config);
  const auto recorded = Config::Parse(text, "config.textproto");
  ASSERT_TRUE(recorded.ok()) << recorded.status();
  EXPECT_EQ(ConfigText(RecordedConfig(recorded->proto())), text);
  PlanOptions options;
  options.open_data = &BlankDataset::Open;
  const auto again = PlanRun(*recorded, options);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(PlanText(*again), PlanText(*plan));
}

INSTANTIATE_TEST_SUITE_P(Configs, GoodConfigTest, testing::ValuesIn(FilesIn(kGood)),
                         [](const auto& info) { return info.param; });

// Messages name what is registered, which grows with every plugin: they have {quantizers} and {options messages} for
// it.
std::string WithRegisteredNames(absl::string_view message) {
  std::set<std::string> options;
  for (const std::string& name : QuantizerNames()) options.insert((*QuantizerOptions(name))->GetTypeName());
  return absl::StrReplaceAll(message, {{"{quantizers}", absl::StrJoin(QuantizerNames(), ", ")},
                                       {"{options messages}", absl::StrJoin(options, ", ")}});
}

class BadConfigTest : public testing::TestWithParam<std::string> {};

TEST_P(BadConfigTest, IsRefusedWithTheMessageInItsFirstLine) {
  const std::string text = *ReadFile(PathOf(kBad, GetParam()));
  absl::string_view wanted = absl::string_view(text).substr(0, text.find('\n'));
  ASSERT_TRUE(absl::ConsumePrefix(&wanted, "# ")) << "the first line should be: # <message>";

  const auto config = Config::Parse(text, absl::StrCat(GetParam(), ".textproto"));
  const absl::Status status = config.ok() ? Plan(*config).status() : config.status();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(std::string(status.message()), WithRegisteredNames(wanted));
}

INSTANTIATE_TEST_SUITE_P(Configs, BadConfigTest, testing::ValuesIn(FilesIn(kBad)),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lowbit
