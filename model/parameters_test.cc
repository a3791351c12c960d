#include "model/parameters.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "artifact/safetensors.h"
#include "base/field_error.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Graph Make(std::vector<Layer> layers) {
  auto graph = Graph::Create(std::move(layers));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

// input [2, 2, 2] -> conv (3 channels, 1x1, bias) -> bn -> flatten -> fc (4 outputs).
Graph Small() {
  Conv2d conv{2, 3};
  conv.bias = true;
  return Make({{"input", Input{2, 2, 2}, {}},
               {"conv", conv, {0}},
               {"bn", BatchNorm{3}, {1}},
               {"flatten", Flatten{}, {2}},
               {"fc", Linear{12, 4}, {3}}});
}

std::string Path(const std::string& name) { return std::string(testing::TempDir()) + "/parameters_test_" + name; }

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// What is said of Small()'s parameters after a change.
std::string Check(const std::function<void(ParameterMap&)>& change) {
  ParameterMap parameters = InitParameters(Small(), 1);
  change(parameters);
  const absl::Status status = CheckParameters(Small(), parameters);
  EXPECT_EQ(status.code(), status.ok() ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument);
  return Message(status);
}

void ExpectEqual(const ParameterMap& a, const ParameterMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, value] : a) {
    ASSERT_EQ(b.count(name), 1u) << name;
    EXPECT_TRUE(at::equal(value, b.at(name))) << name;
  }
}

TEST(ParameterNameTest, IsPyTorchs) {
  EXPECT_EQ(ParameterName("layer1.0.conv1", "weight"), "layer1.0.conv1.weight");
  EXPECT_TRUE(IsRunningStatistic("bn.running_mean"));
  EXPECT_TRUE(IsRunningStatistic("layer1.0.bn.running_var"));
  EXPECT_FALSE(IsRunningStatistic("bn.weight"));
  EXPECT_FALSE(IsRunningStatistic("running_mean.bias"));
}

TEST(CheckParametersTest, AcceptsWhatTheGraphWants) {
  EXPECT_EQ(Check([](ParameterMap&) {}), "");
  EXPECT_EQ(Check([](ParameterMap& p) { p["bn.weight"] = at::full({3}, -1e30, at::kFloat); }), "");
}

TEST(CheckParametersTest, NamesWhatIsMissingOrTooMuch) {
  EXPECT_EQ(Check([](ParameterMap& p) { p.erase("conv.bias"); }), "missing parameters: conv.bias");
  EXPECT_EQ(Check([](ParameterMap& p) { p.erase("bn.running_var"); }), "missing parameters: bn.running_var");
  EXPECT_EQ(Check([](ParameterMap& p) { p["fc.scale"] = at::ones({1}); }),
            "parameters that the network does not have: fc.scale");
  EXPECT_EQ(Check([](ParameterMap& p) { p.erase("fc.bias"), p["fc.offset"] = at::ones({4}); }),
            "missing parameters: fc.bias; parameters that the network does not have: fc.offset");
  EXPECT_EQ(Check([](ParameterMap& p) { p.clear(); }),
            "missing parameters: bn.bias, bn.running_mean, bn.running_var, bn.weight, conv.bias, conv.weight, fc.bias, "
            "fc.weight");
  EXPECT_EQ(
      Check([](ParameterMap& p) {
        p.erase("bn.bias");
        for (char name = 'k'; name <= 'w'; ++name) p[std::string(1, name)] = at::ones({1});
      }),
      "missing parameters: bn.bias; parameters that the network does not have: k, l, m, n, o, p, q, r, s, t and 3 "
      "more");
}

TEST(CheckParametersTest, NamesWrongShapesAndTypes) {
  EXPECT_EQ(Check([](ParameterMap& p) {
              p["fc.weight"] = at::ones({12, 4});
            }),
            "parameter fc.weight has shape [12, 4], the network wants [4, 12]");
  EXPECT_EQ(Check([](ParameterMap& p) {
              p["bn.weight"] = at::ones({1, 3});
            }),
            "parameter bn.weight has shape [1, 3], the network wants [3]");
  EXPECT_EQ(Check([](ParameterMap& p) { p["bn.bias"] = at::ones({3}, at::kDouble); }),
            "parameter bn.bias is of type Double, wanted Float");
  EXPECT_EQ(Check([](ParameterMap& p) { p["conv.bias"] = at::Tensor(); }),
            "parameter conv.bias is an undefined tensor");
}

TEST(CheckParametersTest, CountsWhatIsNotFinite) {
  EXPECT_EQ(Check([](ParameterMap& p) {
              p["conv.bias"] = at::tensor({1.0f, kNan, 2.0f});
            }),
            "parameter conv.bias has 1 NaN or infinite values of 3");
  EXPECT_EQ(Check([](ParameterMap& p) {
              p["bn.running_var"] = at::tensor({kInfinity, kNan, -kInfinity});
            }),
            "parameter bn.running_var has 3 NaN or infinite values of 3");
  EXPECT_EQ(Check([](ParameterMap& p) { p["conv.bias"][2] = kNan, p["bn.bias"][0] = kNan; }),
            "parameter bn.bias has 1 NaN or infinite values of 3");  // The first by name.
}

TEST(InitParametersTest, StartsBatchNormAsIdentityAndBiasesAtZero) {
  const ParameterMap parameters = InitParameters(Small(), 7);
  EXPECT_TRUE(at::equal(parameters.at("bn.weight"), at::ones({3})));
  EXPECT_TRUE(at::equal(parameters.at("bn.bias"), at::zeros({3})));
  EXPECT_TRUE(at::equal(parameters.at("bn.running_mean"), at::zeros({3})));
  EXPECT_TRUE(at::equal(parameters.at("bn.running_var"), at::ones({3})));
  EXPECT_TRUE(at::equal(parameters.at("conv.bias"), at::zeros({3})));
  EXPECT_TRUE(CheckParameters(Small(), parameters).ok());
}

TEST(InitParametersTest, DependsOnSeedAndNameAlone) {
  const ParameterMap parameters = InitParameters(Small(), 7);
  ExpectEqual(parameters, InitParameters(Small(), 7));
  const ParameterMap reseeded = InitParameters(Small(), 8);
  EXPECT_FALSE(at::equal(parameters.at("conv.weight"), reseeded.at("conv.weight")));
  EXPECT_FALSE(at::equal(parameters.at("fc.weight"), reseeded.at("fc.weight")));

  // The same layer amid other neighbours starts with the same numbers, of another name with others.
  const ParameterMap elsewhere = InitParameters(Make({{"input", Input{2, 3, 3}, {}},
                                                      {"first", Conv2d{2, 2}, {0}},
                                                      {"conv", Conv2d{2, 3}, {1}},
                                                      {"last", Conv2d{3, 2}, {2}},
                                                      {"twin", Conv2d{2, 3}, {3}}}),
                                                7);
  EXPECT_TRUE(at::equal(parameters.at("conv.weight"), elsewhere.at("conv.weight")));
  EXPECT_FALSE(at::equal(elsewhere.at("conv.weight"), elsewhere.at("twin.weight")));
}

// The standard deviation of n normal numbers is off by some 1 / sqrt(2 n) of itself; 2% is at least three times that
// here.
TEST(InitParametersTest, ConvolutionsAreNormalWithTheStdOfHe) {
  Conv2d conv{32, 64, {3, 5}};
  Conv2d grouped{64, 128, {3, 3}};
  grouped.groups = 4;
  const ParameterMap parameters =
      InitParameters(Make({{"input", Input{32, 8, 8}, {}}, {"conv", conv, {0}}, {"grouped", grouped, {1}}}), 3);
  const at::Tensor weight = parameters.at("conv.weight");
  const double std = std::sqrt(2.0 / (64 * 3 * 5));
  EXPECT_NEAR(weight.std().item<double>() / std, 1, 0.02);
  EXPECT_NEAR(weight.mean().item<double>() / std, 0, 0.03);
  // Within one standard deviation lie 68.3% of a normal distribution, but 57.7% of a uniform one.
  EXPECT_NEAR(weight.abs().lt(std).to(at::kFloat).mean().item<double>(), 0.683, 0.01);
  EXPECT_NEAR(parameters.at("grouped.weight").std().item<double>() / std::sqrt(2.0 / (128 / 4 * 9)), 1, 0.02);
}

TEST(InitParametersTest, LinearLayersAreUniformWithinTheirBound) {
  const ParameterMap parameters = InitParameters(
      Make({{"input", Input{100, 1, 1}, {}}, {"flatten", Flatten{}, {0}}, {"fc", Linear{100, 60}, {1}}}), 3);
  const at::Tensor weight = parameters.at("fc.weight");
  EXPECT_LE(weight.abs().max().item<double>(), 0.1 + 1e-8);
  EXPECT_GT(weight.max().item<double>(), 0.099);
  EXPECT_LT(weight.min().item<double>(), -0.099);
  EXPECT_NEAR(weight.std().item<double>(), 0.1 / std::sqrt(3.0), 0.002);
}

TEST(CloneParametersTest, SharesNothing) {
  ParameterMap parameters = InitParameters(Small(), 1);
  parameters["fc.weight"].requires_grad_();
  const ParameterMap clones = CloneParameters(parameters);
  ExpectEqual(parameters, clones);
  EXPECT_FALSE(clones.at("fc.weight").requires_grad());
  EXPECT_TRUE(parameters.at("fc.weight").requires_grad());
  parameters["conv.bias"].fill_(9);
  EXPECT_TRUE(at::equal(clones.at("conv.bias"), at::zeros({3})));
}

// ---- Files ----

TEST(ParameterFileTest, SavesAndLoadsTheSameNumbersAndBytes) {
  ParameterMap parameters = InitParameters(Small(), 5);
  parameters["fc.weight"] = at::arange(48, at::kFloat).view({12, 4}).t();  // Not contiguous.
  parameters["conv.weight"].requires_grad_();
  const std::string path = Path("round.safetensors");
  ASSERT_TRUE(SaveParameters(path, parameters, {{"epoch", "3"}}).ok());
  const auto loaded = LoadParameters(path, Small());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectEqual(parameters, *loaded);
  const auto file = ReadParameterFile(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->metadata, (std::map<std::string, std::string>{{"epoch", "3"}}));
  ExpectEqual(parameters, file->parameters);

  const std::string bytes = *ReadFile(path);
  ASSERT_TRUE(SaveParameters(path, *loaded, {{"epoch", "3"}}).ok());
  EXPECT_EQ(*ReadFile(path), bytes);
}

TEST(ParameterFileTest, SavesOtherTypesAsFloat) {
  const std::string path = Path("double.safetensors");
  ASSERT_TRUE(SaveParameters(path, {{"x", at::tensor({0.5, -3.0}, at::kDouble)}}).ok());
  const auto file = ReadSafetensors(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors.at("x").dtype, DType::kF32);
  EXPECT_EQ(file->tensors.at("x").bytes.size(), 8u);
}

// 1 + 2^-11 lies halfway between two halves, 1 and 1 + 2^-10, and goes to the even one; 1 + 3 * 2^-11 goes up. 2^-24 is
// the smallest half, and what is below a half of it is lost.
TEST(ParameterFileTest, SavesHalfPrecisionRounded) {
  const at::Tensor x = at::tensor({1.0f, 1.0f + 0x1p-11f, 1.0f + 0x3p-11f, -65504.0f, 0x1p-24f, 0x1p-26f});
  for (const char* name : {"half.safetensors", "half.pt"}) {
    ASSERT_TRUE(SaveParameters(Path(name), {{"x", x}}, {}, at::kHalf).ok());
    const auto file = ReadParameterFile(Path(name));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE(
        at::equal(file->parameters.at("x"), at::tensor({1.0f, 1.0f, 1.0f + 0x1p-9f, -65504.0f, 0x1p-24f, 0.0f})));
  }
  const auto file = ReadSafetensors(Path("half.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors.at("x").dtype, DType::kF16);
  EXPECT_EQ(file->tensors.at("x").bytes, std::string("\x00\x3C\x00\x3C\x02\x3C\xFF\xFB\x01\x00\x00\x00", 12));
}

TEST(ParameterFileTest, SavesBFloat16Rounded) {
  for (const char* name : {"brain.safetensors", "brain.pt"}) {
    ASSERT_TRUE(
        SaveParameters(Path(name), {{"x", at::tensor({1.0f + 0x1p-8f, 1.0f + 0x3p-8f, 1e38f})}}, {}, at::kBFloat16)
            .ok());
    const auto file = ReadParameterFile(Path(name));
    ASSERT_TRUE(file.ok()) << file.status();
    const at::Tensor x = file->parameters.at("x");
    EXPECT_EQ(x[0].item<float>(), 1.0f);
    EXPECT_EQ(x[1].item<float>(), 1.0f + 0x1p-6f);
    EXPECT_NEAR(x[2].item<float>() / 1e38f, 1, 0x1p-8);
  }
}

TEST(ParameterFileTest, HalfPrecisionIsHalfTheSizeAndLoads) {
  const ParameterMap parameters = InitParameters(Small(), 5);
  ASSERT_TRUE(SaveParameters(Path("small16.safetensors"), parameters, {}, at::kHalf).ok());
  const auto loaded = LoadParameters(Path("small16.safetensors"), Small());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const auto& [name, value] : parameters) {
    EXPECT_TRUE(at::equal(loaded->at(name), value.to(at::kHalf).to(at::kFloat))) << name;
    EXPECT_LE((loaded->at(name) - value).abs().max().item<float>(), 0x1p-11 * value.abs().max().item<float>()) << name;
  }
}

TEST(ParameterFileTest, RefusesWhatA16BitTypeDoesNotHold) {
  const std::string path = Path("beyond.safetensors");
  const auto refusal = [&](float value, at::ScalarType type) {
    return Message(SaveParameters(path, {{"a", at::ones({1})}, {"x", at::tensor({1.0f, -value})}}, {}, type));
  };
  EXPECT_EQ(refusal(65505, at::kHalf),
            path + ": parameter x has a value of magnitude 65505; F16 holds no more than 65504");
  EXPECT_EQ(refusal(kInfinity, at::kHalf),
            path + ": parameter x has a value of magnitude inf; F16 holds no more than 65504");
  EXPECT_EQ(refusal(kNan, at::kHalf),
            path + ": parameter x has a value of magnitude nan; F16 holds no more than 65504");
  EXPECT_EQ(refusal(3.4e38f, at::kBFloat16),
            path + ": parameter x has a value of magnitude 3.4e+38; BF16 holds no more than 3.38953e+38");
  EXPECT_EQ(refusal(3.38e38f, at::kBFloat16), "");
  EXPECT_EQ(refusal(65504, at::kHalf), "");
}

// A file with one tensor "x" of the given type and little-endian elements.
std::string WriteTensor(DType dtype, std::vector<int64_t> shape, std::string bytes) {
  SafetensorsFile file;
  file.tensors["x"] = {dtype, std::move(shape), std::move(bytes)};
  const std::string path = Path("typed.safetensors");
  EXPECT_TRUE(WriteSafetensors(path, file).ok());
  return path;
}

void ExpectReadsOneAndMinusTwoAndAHalf(DType dtype, const std::string& bytes) {
  const auto file = ReadParameterFile(WriteTensor(dtype, {2}, bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->parameters.at("x").scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(file->parameters.at("x"), at::tensor({1.0f, -2.5f})));
}

TEST(ParameterFileTest, ReadsEveryFloatType) {
  ExpectReadsOneAndMinusTwoAndAHalf(DType::kF16, std::string("\x00\x3C\x00\xC1", 4));
  ExpectReadsOneAndMinusTwoAndAHalf(DType::kBF16, std::string("\x80\x3F\x20\xC0", 4));
  ExpectReadsOneAndMinusTwoAndAHalf(DType::kF32, std::string("\x00\x00\x80\x3F\x00\x00\x20\xC0", 8));
  ExpectReadsOneAndMinusTwoAndAHalf(DType::kF64, std::string("\0\0\0\0\0\0\xF0\x3F\0\0\0\0\0\0\x04\xC0", 16));
}

TEST(ParameterFileTest, RefusesOtherTypes) {
  const std::string path = WriteTensor(DType::kI32, {1}, std::string(4, '\0'));
  const absl::Status status = ReadParameterFile(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(status), path + ": parameter x is of type I32, wanted F32, F16, BF16 or F64");
}

// Small()'s file after a change.
absl::StatusOr<ParameterMap> LoadAfter(const std::string& path, const std::function<void(SafetensorsFile&)>& change) {
  EXPECT_TRUE(SaveParameters(path, InitParameters(Small(), 2)).ok());
  auto file = ReadSafetensors(path);
  EXPECT_TRUE(file.ok()) << file.status();
  change(*file);
  EXPECT_TRUE(WriteSafetensors(path, *file).ok());
  return LoadParameters(path, Small());
}

TEST(LoadParametersTest, PassesOverWhatPyTorchCounts) {
  const auto loaded = LoadAfter(Path("tracked.safetensors"), [](SafetensorsFile& file) {
    file.tensors["bn.num_batches_tracked"] = {DType::kI64, {}, std::string(8, '\x01')};
  });
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectEqual(InitParameters(Small(), 2), *loaded);
}

TEST(LoadParametersTest, NamesTheFile) {
  const std::string path = Path("bad.safetensors");
  const auto refusal = [&](const std::function<void(SafetensorsFile&)>& change) {
    const absl::Status status = LoadAfter(path, change).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return Message(status);
  };
  EXPECT_EQ(refusal([](SafetensorsFile& f) { f.tensors.erase("fc.bias"); }), path + ": missing parameters: fc.bias");
  EXPECT_EQ(refusal([](SafetensorsFile& f) { f.tensors["bn.scale"] = f.tensors["bn.bias"]; }),
            path + ": parameters that the network does not have: bn.scale");
  EXPECT_EQ(refusal([](SafetensorsFile& f) {
              f.tensors["fc.weight"].shape = {12, 4};
            }),
            path + ": parameter fc.weight has shape [12, 4], the network wants [4, 12]");
  EXPECT_EQ(refusal([](SafetensorsFile& f) { f.tensors["fc.bias"].bytes.replace(0, 4, "\xFF\xFF\xFF\x7F"); }),
            path + ": parameter fc.bias has 1 NaN or infinite values of 4");
  EXPECT_EQ(refusal([](SafetensorsFile& f) { f.tensors["fc.bias"].dtype = DType::kU32; }),
            path + ": parameter fc.bias is of type U32, wanted F32, F16, BF16 or F64");
  EXPECT_EQ(LoadParameters("/no/such/file.safetensors", Small()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(LoadParameters("/no/such/file.safetensors", Small()).status()),
              HasSubstr("/no/such/file.safetensors"));
}

TEST(LoadParametersTest, ComparesNamesAfterTheMapping) {
  const auto mapping = NameMapping::Create({{"net\\.(.*)", "\\1"}, {"head\\.(.*)", "fc.\\1"}, {"step", ""}});
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  const ParameterMap wanted = InitParameters(Small(), 2);
  for (const char* file : {"mapped.safetensors", "mapped.pt"}) {
    ParameterMap theirs = {{"step", at::ones({1})}};
    for (const auto& [name, value] : wanted) {
      theirs[name[0] == 'f' ? "net.head" + name.substr(2) : "net." + name] = value;
    }
    ASSERT_TRUE(SaveParameters(Path(file), theirs).ok());
    const auto loaded = LoadParameters(Path(file), Small(), *mapping);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ExpectEqual(wanted, *loaded);

    theirs.erase("net.head.bias");
    theirs["net.neck.bias"] = at::ones({4});
    ASSERT_TRUE(SaveParameters(Path(file), theirs).ok());
    EXPECT_EQ(Message(LoadParameters(Path(file), Small(), *mapping).status()),
              Path(file) + ": missing parameters: fc.bias; parameters that the network does not have: neck.bias");

    theirs.erase("step");
    ASSERT_TRUE(SaveParameters(Path(file), theirs).ok());
    const absl::Status unmatched = LoadParameters(Path(file), Small(), *mapping).status();
    EXPECT_EQ(ErrorField(unmatched), "[2].from");
    EXPECT_EQ(Message(unmatched),
              "\"step\" matches none of the names of tensors; they are \"bn.bias\", "
              "\"bn.running_mean\", \"bn.running_var\" and 5 more");
  }
}

// An optimizer's step count in a checkpoint may be left out; it needs not be a parameter first. What PyTorch counts is
// renamed along with its layer.
TEST(LoadParametersTest, TypesOfWhatIsLeftOutDoNotMatter) {
  const auto change = [](SafetensorsFile& file) {
    file.tensors["step"] = {DType::kI64, {}, std::string(8, '\x01')};
    for (const char* name : {"weight", "bias", "running_mean", "running_var"}) {
      file.tensors[std::string("norm.") + name] = file.tensors.at(std::string("bn.") + name);
      file.tensors.erase(std::string("bn.") + name);
    }
    file.tensors["norm.num_batches_tracked"] = {DType::kI64, {}, std::string(8, '\x01')};
  };
  const std::string path = Path("left_out.safetensors");
  EXPECT_EQ(Message(LoadAfter(path, change).status()),
            path +
                ": missing parameters: bn.bias, bn.running_mean, bn.running_var, bn.weight; parameters that the "
                "network does not have: norm.bias, norm.running_mean, norm.running_var, norm.weight, step");
  const auto loaded = LoadParameters(path, Small(), *NameMapping::Create({{"norm(.*)", "bn\\1"}, {"step", ""}}));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectEqual(InitParameters(Small(), 2), *loaded);
}

// A double may be finite and the float that it becomes not.
TEST(LoadParametersTest, RefusesDoublesBeyondFloat) {
  const std::string path = Path("large.safetensors");
  const auto loaded = LoadAfter(path, [](SafetensorsFile& file) {
    std::string bytes(24, '\0');
    bytes[6] = '\xF0', bytes[7] = '\x7E';  // About 1e303.
    file.tensors["conv.bias"] = {DType::kF64, {3}, bytes};
  });
  EXPECT_EQ(Message(loaded.status()), path + ": parameter conv.bias has 1 NaN or infinite values of 3");
}

// ---- Digest ----

// FNV-1a by hand: of the bits of 1 and -2, in the order of the names.
TEST(DigestParametersTest, ByHand) {
  uint64_t wanted = 0xcbf29ce484222325;
  for (const uint64_t bits : {0x3f800000u, 0xc0000000u}) wanted = (wanted ^ bits) * 0x100000001b3;
  EXPECT_EQ(DigestParameters({{"a", at::tensor({1.0f})}, {"b", at::tensor({-2.0f})}}), wanted);
  EXPECT_EQ(DigestParameters({{"a", at::tensor({1.0f, -2.0f})}}), wanted);
  EXPECT_NE(DigestParameters({{"b", at::tensor({1.0f})}, {"a", at::tensor({-2.0f})}}), wanted);
  EXPECT_EQ(DigestParameters({}), 0xcbf29ce484222325u);
}

TEST(DigestParametersTest, TellsEveryBitApart) {
  const ParameterMap parameters = InitParameters(Small(), 1);
  const uint64_t digest = DigestParameters(parameters);
  EXPECT_EQ(digest, DigestParameters(CloneParameters(parameters)));
  EXPECT_NE(digest, DigestParameters(InitParameters(Small(), 2)));
  for (const auto& [name, tensor] : parameters) {
    ParameterMap other = CloneParameters(parameters);
    float* const last = other.at(name).data_ptr<float>() + tensor.numel() - 1;
    *last = std::nextafter(*last, 9.0f);
    EXPECT_NE(DigestParameters(other), digest) << name;
  }
  EXPECT_NE(DigestParameters({{"a", at::tensor({0.0f})}}), DigestParameters({{"a", at::tensor({-0.0f})}}));
}

// Numbers count in the order of their indices, however they lie in memory.
TEST(DigestParametersTest, TheMemoryOrderDoesNotMatter) {
  const at::Tensor x = at::arange(24, at::kFloat).view({2, 3, 2, 2});
  EXPECT_EQ(DigestParameters({{"a", x}}), DigestParameters({{"a", x.contiguous(at::MemoryFormat::ChannelsLast)}}));
}

}  // namespace
}  // namespace lowbit
