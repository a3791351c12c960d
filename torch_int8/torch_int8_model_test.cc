#include "torch_int8/torch_int8_model.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/executor.h"

namespace lowbit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

QuantParams Quint8(float scale, float zero_point) {
  QuantParams params;
  params.bits = 8;
  params.is_signed = false;
  params.scale = {scale};
  params.zero_point = {zero_point};
  return params;
}

Model Make(std::vector<Layer> layers) {
  auto graph = Graph::Create(std::move(layers));
  EXPECT_TRUE(graph.ok()) << graph.status();
  ParameterMap parameters = InitParameters(*graph, 1);
  return {*std::move(graph), std::move(parameters)};
}

// One of each operation, wired as in a residual network.
Model Residual() {
  Conv2d stem;
  stem.in_channels = 3;
  stem.out_channels = 4;
  stem.kernel = {3, 3};
  stem.padding = {1, 1};
  stem.bias = true;
  Conv2d halve = stem;
  halve.in_channels = 4;
  halve.out_channels = 8;
  halve.stride = {2, 2};
  Conv2d last = halve;
  last.in_channels = 8;
  last.stride = {1, 1};
  last.groups = 2;
  last.bias = false;
  return Make({{"images", Input{3, 16, 16}, {}},
               {"conv1", stem, {0}},
               {"relu", Relu{}, {1}},
               {"block.conv1", halve, {2}},
               {"block.relu1", Relu{}, {3}},
               {"block.conv2", last, {4}},
               {"block.subsample", Subsample{{2, 2}}, {2}},
               {"block.pad", PadChannels{2, 2}, {6}},
               {"block.add", Add{}, {5, 7}},
               {"block.relu2", Relu{}, {8}},
               {"max", MaxPool{{2, 2}, {2, 2}, {0, 0}}, {9}},
               {"average", AvgPool{{2, 2}, {2, 2}, {0, 0}}, {10}},
               {"pool", GlobalAvgPool{}, {11}},
               {"flat", Flatten{}, {12}},
               {"linear", Linear{8, 5}, {13}}});
}

const std::map<std::string, QuantParams>& ResidualScales() {
  static const auto& scales = *new std::map<std::string, QuantParams>{
      {"images", Quint8(0.02f, 128)},      {"relu", Quint8(0.03f, 0)},        {"block.relu1", Quint8(0.03f, 0)},
      {"block.conv2", Quint8(0.05f, 128)}, {"block.relu2", Quint8(0.05f, 0)}, {"linear", Quint8(0.02f, 128)}};
  return scales;
}

at::Tensor Images(int64_t n) {
  at::Tensor images = at::ones({n, 3, 16, 16});
  float* values = images.data_ptr<float>();
  for (int64_t i = 0; i < images.numel(); ++i) values[i] = static_cast<float>((i * 37 + i / 11) % 201 - 100) / 50;
  return images;
}

std::string FileOf(const char* name) { return absl::StrCat(::testing::TempDir(), "/", name); }

class EveryEngine : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryEngine, ComputesWhatLinearDoesByHand) {
  Model model = Make({{"images", Input{2, 1, 1}, {}}, {"flat", Flatten{}, {0}}, {"linear", Linear{2, 2}, {1}}});
  // max |w| / 127.5 is 0.5 and 0.25: the weights' codes are [127, -64 (half to even)] and [4, -127 (clipped at -128:
  // no)].
  model.parameters["linear.weight"] = at::tensor({63.5f, -32.0f, 1.0f, -31.75f}).view({2, 2});
  model.parameters["linear.bias"] = at::tensor({1.0f, -2.0f});
  auto made = TorchInt8Model::Create(model, {{"images", Quint8(0.5f, 10)}, {"linear", Quint8(2, 100)}}, GetParam());
  ASSERT_TRUE(made.ok()) << made.status();
  // Codes 10 + 3 / 0.5 = 16 and 10 - 1 / 0.5 = 8.
  auto logits = made->Forward(at::tensor({3.0f, -1.0f}).view({1, 2, 1, 1}));
  ASSERT_TRUE(logits.ok()) << logits.status();
  // First row: scale 63.5 / 127.5 = 0.498, codes 127 (of 127.5, where qint8 ends) and -64: 6 * 127 + 2 * 64 = 890 of
  // 0.498
  // * 0.5, and 1, are 222.6, code 211 of the result, which stands for 222. Second row: scale 0.249, codes 4 and -127
  // (of -127.5, to even: -128): between 6 * 4 + 2 * 127 and 6 * 4 + 2 * 128 of 0.249 * 0.5, and -2, are 32.6
  // or 32.9: 32.
  EXPECT_TRUE(at::equal(*logits, at::tensor({222.0f, 32.0f}).view({1, 2}))) << *logits;
}

TEST_P(EveryEngine, ComputesEveryOperationNearlyAsFloatsDo) {
  const Model model = Residual();
  auto made = TorchInt8Model::Create(model, ResidualScales(), GetParam());
  ASSERT_TRUE(made.ok()) << made.status();
  auto executor = Executor::Create(model.graph, model.parameters);
  ASSERT_TRUE(executor.ok());
  const at::Tensor images = Images(3);
  auto wanted = executor->Forward(images);
  auto got = made->Forward(images);
  ASSERT_TRUE(wanted.ok() && got.ok()) << wanted.status() << got.status();
  ASSERT_EQ(got->sizes(), wanted->sizes());
  EXPECT_GT(wanted->abs().max().item<float>(), 0.3f);
  EXPECT_TRUE(at::allclose(*got, *wanted, /*rtol=*/0, /*atol=*/0.05)) << *got << *wanted;
}

TEST_P(EveryEngine, SaysTheSameAfterSavingAndLoading) {
  auto made = TorchInt8Model::Create(Residual(), ResidualScales(), GetParam());
  ASSERT_TRUE(made.ok()) << made.status();
  const std::string path = FileOf("round_trip.pt");
  ASSERT_TRUE(made->Save(path).ok());
  auto loaded = TorchInt8Model::Load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->graph().size(), 15);
  EXPECT_EQ(loaded->engine(), TorchInt8Engines().front());
  // Another engine may round a tie the other way.
  const double allowed = loaded->engine() == made->engine() ? 0 : 0.021;
  EXPECT_TRUE(at::allclose(*loaded->Forward(Images(2)), *made->Forward(Images(2)), 0, allowed));
}

INSTANTIATE_TEST_SUITE_P(Engines, EveryEngine, ::testing::ValuesIn(TorchInt8Engines()),
                         [](const auto& info) { return info.param; });

TEST(TorchInt8Tensors, AreThoseThatAreComputedAndNotPassedOn) {
  const Model model = Residual();
  std::vector<std::string> names;
  for (const int i : TorchInt8Tensors(model.graph)) names.push_back(model.graph.layer(i).name);
  EXPECT_THAT(names, ElementsAre("images", "relu", "block.relu1", "block.conv2", "block.relu2", "linear"));
}

TEST(TorchInt8Model, CountsTheBytesOfItsWeights) {
  EXPECT_EQ(TorchInt8WeightBytes(Residual().graph),
            (4 * 27 + 4 * 4) + (8 * 36 + 4 * 8) + (8 * 36 + 4 * 8) + (5 * 8 + 4 * 5));
}

TEST(TorchInt8Model, RefusesAnEngineThatIsNotThere) {
  const absl::Status status = TorchInt8Model::Create(Residual(), ResidualScales(), "cutlass").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("this LibTorch has no quantized engine \"cutlass\"; it has: "));
}

TEST(TorchInt8Model, RefusesABatchNorm) {
  const Model model = Make({{"images", Input{2, 4, 4}, {}},
                            {"bn", BatchNorm{2}, {0}},
                            {"pool", GlobalAvgPool{}, {1}},
                            {"flat", Flatten{}, {2}},
                            {"linear", Linear{2, 2}, {3}}});
  const absl::Status status = TorchInt8Model::Create(model, {{"images", Quint8(0.1f, 0)}, {"linear", Quint8(0.1f, 0)}},
                                                     TorchInt8Engines().front())
                                  .status();
  EXPECT_EQ(status.message(),
            "layer \"bn\" is a batch norm that is not folded, which LibTorch's 8-bit operators do not include");
}

TEST(TorchInt8Model, RefusesScalesThatDoNotFit) {
  auto scales = ResidualScales();
  scales.erase("block.conv2");
  const std::string engine = TorchInt8Engines().front();
  EXPECT_EQ(TorchInt8Model::Create(Residual(), scales, engine).status().message(),
            "layer \"block.conv2\": its output has no scale");
  scales["block.conv2"] = Quint8(0.1f, 3);
  scales["block.conv2"].bits = 4;
  EXPECT_EQ(TorchInt8Model::Create(Residual(), scales, engine).status().message(),
            "layer \"block.conv2\": LibTorch wants 8 unsigned bits and one scale, got 4 unsigned bits and 1 scales");
  scales["block.conv2"] = Quint8(0.1f, 3);
  scales["block.conv2"].levels = {0, 1, 2, 4, 8};
  EXPECT_EQ(TorchInt8Model::Create(Residual(), scales, engine).status().message(),
            "layer \"block.conv2\": LibTorch wants a uniform grid, got one of 5 levels");
}

TEST(TorchInt8Model, RefusesImagesOfAnotherShape) {
  auto made = TorchInt8Model::Create(Residual(), ResidualScales(), TorchInt8Engines().front());
  ASSERT_TRUE(made.ok());
  EXPECT_FALSE(made->Forward(at::ones({1, 7, 16, 16})).ok());
}

TEST(TorchInt8Model, DoesNotLoadAFileThatIsCutOffAnywhere) {
  auto made = TorchInt8Model::Create(Residual(), ResidualScales(), TorchInt8Engines().front());
  ASSERT_TRUE(made.ok());
  const std::string path = FileOf("whole.pt"), cut = FileOf("cut.pt");
  ASSERT_TRUE(made->Save(path).ok());
  const std::string bytes = *ReadFile(path);
  for (size_t i = 0; i <= 100; ++i) {
    const size_t size = i == 100 ? bytes.size() - 1 : i * bytes.size() / 100;
    ASSERT_TRUE(WriteFileAtomic(cut, bytes.substr(0, size)).ok());
    const absl::Status status = TorchInt8Model::Load(cut).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_TRUE(absl::StartsWith(status.message(), cut)) << status;
  }
}

TEST(TorchInt8Model, SaysWhatAFileIsThatItDoesNotLoad) {
  const std::string path = FileOf("other.pt");
  const auto message = [&](const std::string& bytes) {
    EXPECT_TRUE(WriteFileAtomic(path, bytes).ok());
    return std::string(TorchInt8Model::Load(path).status().message());
  };
  EXPECT_EQ(message("weights"), path + ": no TorchScript file, which would be a zip archive");
  EXPECT_EQ(message(*ReadFile("artifact/testdata/torchscript.pt")),
            path + ": not written by a torch_int8 step: holds no network of ours");
  EXPECT_EQ(message(*ReadFile("artifact/testdata/zip_plain.pt")),
            path + ": a zip archive, but no TorchScript file (a PyTorch checkpoint goes in model.weights)");
}

TEST(TorchInt8Model, DoesNotLoadWhatIsNotThere) {
  EXPECT_EQ(TorchInt8Model::Load(FileOf("nothing.pt")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace lowbit
