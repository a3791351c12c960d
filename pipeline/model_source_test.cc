#include "pipeline/model_source.h"

#include <ATen/ops/equal.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/field_error.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "model/parameters.h"
#include "model/resnet.h"

namespace lowbit {
namespace {

// A ResNet-20 under the names that torchvision's code, and what was made from it, gives its layers: the shortcuts are
// called downsample, the last layer fc. `prefix` stands before each.
std::string TorchvisionFile(const std::string& name, const std::string& prefix) {
  ResnetCifarOptions options;
  options.shortcut = Shortcut::kOptionB;
  ParameterMap theirs;
  for (const auto& [ours, value] : InitParameters(*BuildResnetCifar(options), 4)) {
    theirs[absl::StrCat(prefix, absl::StrReplaceAll(ours, {{"shortcut", "downsample"}, {"linear", "fc"}}))] = value;
  }
  const std::string path = absl::StrCat(testing::TempDir(), "/", name);
  EXPECT_TRUE(SaveParameters(path, theirs).ok());
  return path;
}

absl::StatusOr<LoadedModel> Load(const std::string& path, const std::string& rest) {
  ModelConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      absl::StrCat("resnet_cifar { shortcut: OPTION_B } weights: \"", path, "\" ", rest), &config));
  return LoadModel(config, 1);
}

// As in docs/bring_your_own_model.md.
constexpr char kRename[] = R"textproto(
  rename { from: "(layer\\d\\.\\d)\\.downsample\\.(.*)" to: "\\1.shortcut.\\2" }
  rename { from: "fc\\.(.*)" to: "linear.\\1" }
)textproto";

TEST(ModelSourceTest, RenamesTheTensorsOfBothKindsOfFile) {
  for (const char* name : {"renamed.safetensors", "renamed.pt", "renamed_module.pt"}) {
    // "module." is taken off a PyTorch checkpoint before any rule sees it.
    const auto loaded = Load(TorchvisionFile(name, std::string(name) == "renamed_module.pt" ? "module." : ""), kRename);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(loaded->has_weights);
    for (const auto& [parameter, value] : InitParameters(loaded->model.graph, 4)) {
      EXPECT_TRUE(at::equal(loaded->model.parameters.at(parameter), value)) << parameter;
    }
  }
}

TEST(ModelSourceTest, ListsWhatIsUnmatchedOnBothSides) {
  const std::string path = TorchvisionFile("unmatched.pt", "");
  const absl::Status status = Load(path, "").status();
  EXPECT_EQ(ErrorField(status), "weights");
  EXPECT_EQ(std::string(status.message()),
            absl::StrCat(path,
                         ": missing parameters: layer2.0.shortcut.0.weight, layer2.0.shortcut.1.bias, "
                         "layer2.0.shortcut.1.running_mean, layer2.0.shortcut.1.running_var, "
                         "layer2.0.shortcut.1.weight, layer3.0.shortcut.0.weight, layer3.0.shortcut.1.bias, "
                         "layer3.0.shortcut.1.running_mean, layer3.0.shortcut.1.running_var, "
                         "layer3.0.shortcut.1.weight and 2 more; parameters that the network does not have: fc.bias, "
                         "fc.weight, layer2.0.downsample.0.weight, layer2.0.downsample.1.bias, "
                         "layer2.0.downsample.1.running_mean, layer2.0.downsample.1.running_var, "
                         "layer2.0.downsample.1.weight, layer3.0.downsample.0.weight, layer3.0.downsample.1.bias, "
                         "layer3.0.downsample.1.running_mean and 2 more"));
}

TEST(ModelSourceTest, ErrorsOfARuleNameIt) {
  const std::string path = TorchvisionFile("rule.pt", "");
  EXPECT_EQ(ErrorField(Load(path, absl::StrCat(kRename, "rename { from: \"(\" }")).status()), "rename[2].from");
  EXPECT_EQ(ErrorField(Load(path, absl::StrCat(kRename, "rename { from: \"fc.*\" }")).status()), "rename[2].from");
  EXPECT_EQ(ErrorField(Load(path, "rename { from: \"fc.*\" to: \"linear\" }").status()), "rename[0].to");
  const absl::Status status = Load("", kRename).status();
  EXPECT_EQ(ErrorField(status), "rename[0]");
  EXPECT_EQ(std::string(status.message()), "is about the names in a file of weights, and there is none; take it out");
}

}  // namespace
}  // namespace lowbit
