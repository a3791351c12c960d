#include "quant/quantized_model.h"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/packing.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

TensorBlob Floats(const std::vector<float>& values, Shape shape) {
  TensorBlob blob;
  blob.dtype = DType::kF32;
  blob.shape = std::move(shape);
  blob.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return blob;
}

QuantParams Params(int bits, std::vector<float> scale, std::vector<float> zero_point, bool is_signed = true) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.scale = std::move(scale);
  params.zero_point = std::move(zero_point);
  return params;
}

// input [1, 3, 3] -> conv (2 channels, 3x3, packed in 2 bits) -> relu (quantized) -> flatten -> fc (3 outputs, float).
QuantizedModel Small() {
  Conv2d conv;
  conv.in_channels = 1;
  conv.out_channels = 2;
  conv.kernel = {3, 3};
  conv.padding = {1, 1};
  conv.bias = true;
  auto graph = Graph::Create({{"input", Input{1, 3, 3}, {}},
                              {"conv", conv, {0}},
                              {"relu", Relu{}, {1}},
                              {"flatten", Flatten{}, {2}},
                              {"fc", Linear{18, 3, false}, {3}}});
  EXPECT_TRUE(graph.ok()) << graph.status();
  QuantizedModel model{*std::move(graph), {}, {}, {}, {}};
  PackedWeight weight;
  weight.shape = {2, 1, 3, 3};
  weight.params = Params(2, {0.5f, 0.25f}, {0, 1});
  weight.codes = PackCodes({-2, -1, 0, 1, 0, -1, -2, -1, 0, 1, 1, 1, 1, -1, 0, 0, 0, -2}, 9, 2, -2);
  model.weights["conv"] = weight;
  model.parameters["conv.bias"] = Floats({0.5f, -1}, {2});
  model.parameters["fc.weight"] = Floats(std::vector<float>(54, 0.125f), {3, 18});
  model.activations["relu"] = Params(4, {0.1f}, {0}, false);
  model.activations["input"] = Params(8, {1 / 3.0f}, {-17});
  model.metadata["note"] = "two words";
  return model;
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

std::string Check(const std::function<void(QuantizedModel&)>& change) {
  QuantizedModel model = Small();
  change(model);
  return Message(CheckQuantizedModel(model));
}

TEST(CheckQuantizedModelTest, AcceptsAGoodOne) {
  EXPECT_EQ(Check([](QuantizedModel&) {}), "");
}

TEST(CheckQuantizedModelTest, NamesTheParameterAtFault) {
  EXPECT_EQ(Check([](QuantizedModel& m) { m.parameters.erase("conv.bias"); }), "conv.bias: missing");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.weights.erase("conv"); }), "conv.weight: missing");
  EXPECT_EQ(Check([](QuantizedModel& m) {
              m.parameters["conv.weight"] = Floats(std::vector<float>(18), {2, 1, 3, 3});
            }),
            "conv.weight: there both in float and quantized");
  EXPECT_EQ(Check([](QuantizedModel& m) {
              m.parameters["fc.bias"] = Floats({1, 1, 1}, {3});
            }),
            "fc.bias: the network has no such parameter");
  EXPECT_EQ(Check([](QuantizedModel& m) {
              m.parameters["fc.weight"].shape = {18, 3};
            }),
            "fc.weight: expected F32 of shape [3, 18], got F32 of shape [18, 3]");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.parameters["fc.weight"].dtype = DType::kI32; }),
            "fc.weight: expected F32 of shape [3, 18], got I32 of shape [3, 18]");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.parameters["fc.weight"].bytes.pop_back(); }),
            "fc.weight: 215 bytes are not those of shape [3, 18]");
  EXPECT_EQ(Check([](QuantizedModel& m) {
              m.parameters["conv.bias"] = Floats({1, std::numeric_limits<float>::quiet_NaN()}, {2});
            }),
            "conv.bias: 1 of 2 values are NaN or infinite");
}

// A grid with levels for the activation, and one with bases for the weight.
QuantizedModel OtherGrids() {
  QuantizedModel model = Small();
  model.activations["relu"].levels = {0, 1, 2, 4, 8};
  model.weights["conv"].params.bases = {0.5f, 0.75f};
  return model;
}

TEST(QuantizedModelTest, GridsThatAreNotUniformComeBack) {
  const QuantizedModel model = OtherGrids();
  const auto bytes = SerializeQuantizedModel(model);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto back = ParseQuantizedModel(*bytes, "file");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->weights.at("conv").params, model.weights.at("conv").params);
  EXPECT_EQ(back->activations.at("relu"), model.activations.at("relu"));
  EXPECT_EQ(*SerializeQuantizedModel(*back), *bytes);
  EXPECT_EQ(WeightBytes(model) - WeightBytes(Small()), 8) << "a base for each channel";
}

TEST(QuantizedModelTest, BasesOfAnotherShapeAreRefused) {
  auto file = ParseSafetensors(*SerializeQuantizedModel(OtherGrids()), "file");
  ASSERT_TRUE(file.ok()) << file.status();
  file->tensors["conv.weight_bases"].shape = {1, 2};
  EXPECT_EQ(Message(ParseQuantizedModel(*SerializeSafetensors(*file), "file").status()),
            "file: conv.weight_bases: expected shape [2, 1], got [1, 2]");
}

TEST(QuantizedModelTest, BasesOfOneBitAreRefused) {
  QuantizedModel model = Small();
  PackedWeight& weight = model.weights["conv"];
  weight.params = Params(1, {0.5f, 0.25f}, {-0.5f, -0.5f});
  weight.codes = PackCodes(std::vector<int32_t>(18, -1), 9, 1, -1);
  auto file = ParseSafetensors(*SerializeQuantizedModel(model), "file");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(ParseQuantizedModel(*SerializeSafetensors(*file), "file").ok());
  file->tensors["conv.weight_bases"] = Floats({}, {2, 0});
  EXPECT_EQ(Message(ParseQuantizedModel(*SerializeSafetensors(*file), "file").status()),
            "file: conv.weight_bases: bases are for 2 to 8 bits, got 1");
}

TEST(CheckQuantizedModelTest, NamesWhatIsWrongWithOtherGrids) {
  EXPECT_EQ(Check([](QuantizedModel& m) {
              m.weights["conv"].params.levels = {-3, 0, 3};
            }),
            "conv.weight: there are 3 levels, so codes must be in [-2, 0], got 1");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.weights["conv"].params.bases = {0.5f}; }),
            "conv.weight: there must be bits - 1 bases for each scale, 2; got 1");
  EXPECT_EQ(Check([](QuantizedModel& m) {
              m.activations["relu"].bases = {0.5f, 0.5f, 0.5f};
            }),
            "activation of relu: bases are for weights only");
}

TEST(CheckQuantizedModelTest, NamesTheWeightAtFault) {
  EXPECT_EQ(Check([](QuantizedModel& m) { m.weights["conf"] = m.weights["conv"]; }),
            "conf: the network has no such layer");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.weights["relu"] = m.weights["conv"]; }),
            "relu: a Relu layer has no weight to quantize");
  EXPECT_EQ(Check([](QuantizedModel& m) {
              m.weights["conv"].shape = {2, 9};
            }),
            "conv.weight: expected codes for shape [2, 1, 3, 3], got them for shape [2, 9]");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.weights["conv"].params.bits = 3; }),
            "conv.weight: 2 rows of 9 codes of 3 bits take 8 bytes, got 6");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.weights["conv"].params.scale[1] = -1; }),
            "conv.weight: scale[1] must be finite and above 0, got -1");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.weights["conv"].params.zero_point[0] = 100; }),
            "conv.weight: zero_point[0] must be in [-6, 5] (one grid around the codes), got 100");
  EXPECT_EQ(Check([](QuantizedModel& m) {
              m.weights["conv"].params = Params(2, {1, 1, 1}, {0, 0, 0});
            }),
            "conv.weight: expected 1 or 2 scales, got 3");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.weights["conv"].codes.back() = '\xFF'; }),
            "conv.weight: row 1 has bits set after its last code");
}

TEST(CheckQuantizedModelTest, NamesTheActivationAtFault) {
  EXPECT_EQ(Check([](QuantizedModel& m) { m.activations["rely"] = m.activations["relu"]; }),
            "activation of rely: the network has no such layer");
  EXPECT_EQ(Check([](QuantizedModel& m) { m.activations["relu"].bits = 0; }),
            "activation of relu: bits must be 1 to 8, or 16; got 0");
  EXPECT_EQ(Check([](QuantizedModel& m) {
              m.activations["relu"] = Params(4, {1, 1}, {0, 0});
            }),
            "activation of relu: expected 1 scale, got 2");
}

TEST(WeightBytesTest, CountsCodesScalesZeroPointsAndFloatWeights) {
  QuantizedModel model = Small();
  // conv: 2 rows of ceil(18 / 8) = 3 bytes, 2 scales and 2 zero points; fc: 54 floats.
  EXPECT_EQ(WeightBytes(model), 2 * 3 + 2 * 8 + 54 * 4);
  model.weights["conv"].params.zero_point = {0, 0};
  EXPECT_EQ(WeightBytes(model), 2 * 3 + 2 * 4 + 54 * 4);
  EXPECT_EQ(FloatWeightBytes(model.graph), (18 + 54) * 4);
}

// ---- The file ----

std::string Serialized(const QuantizedModel& model) {
  const auto bytes = SerializeQuantizedModel(model);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : std::string();
}

TEST(QuantizedModelFileTest, RoundTripKeepsEverythingAndEveryByte) {
  const QuantizedModel model = Small();
  const std::string bytes = Serialized(model);
  const auto loaded = ParseQuantizedModel(bytes, "m.safetensors");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->parameters, model.parameters);
  EXPECT_EQ(loaded->activations, model.activations);
  EXPECT_EQ(loaded->metadata, model.metadata);
  ASSERT_EQ(loaded->weights.size(), 1u);
  EXPECT_EQ(loaded->weights.at("conv").shape, model.weights.at("conv").shape);
  EXPECT_EQ(loaded->weights.at("conv").params, model.weights.at("conv").params);
  EXPECT_EQ(loaded->weights.at("conv").codes, model.weights.at("conv").codes);
  ASSERT_EQ(loaded->graph.size(), 5);
  EXPECT_EQ(loaded->graph.layer(4).name, "fc");
  EXPECT_EQ(Serialized(*loaded), bytes);
}

TEST(QuantizedModelFileTest, EveryWidthRoundTrips) {
  for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8, 16}) {
    QuantizedModel model = Small();
    PackedWeight& weight = model.weights["conv"];
    weight.params = Params(bits, {0.3f}, {bits == 1 ? -0.5f : 0.0f});
    std::vector<int32_t> codes;
    for (int i = 0; i < 18; ++i) codes.push_back(weight.params.qmin() + (i * 7919) % (1 << bits));
    weight.codes = PackCodes(codes, 9, bits, weight.params.qmin());
    const auto loaded = ParseQuantizedModel(Serialized(model), "m");
    ASSERT_TRUE(loaded.ok()) << bits << " bits: " << loaded.status();
    EXPECT_EQ(loaded->weights.at("conv").params, weight.params);
    EXPECT_EQ(loaded->weights.at("conv").codes, weight.codes);
  }
}

TEST(QuantizedModelFileTest, SavesToAndLoadsFromDisk) {
  const std::string path = std::string(testing::TempDir()) + "/quantized_model_test.safetensors";
  ASSERT_TRUE(SaveQuantizedModel(path, Small()).ok());
  EXPECT_EQ(*ReadFile(path), Serialized(Small()));
  const auto loaded = LoadQuantizedModel(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Serialized(*loaded), Serialized(Small()));
}

TEST(QuantizedModelFileTest, MissingFilesAreNamed) {
  EXPECT_THAT(Message(LoadQuantizedModel("/no/such/model.safetensors").status()),
              HasSubstr("/no/such/model.safetensors"));
}

TEST(QuantizedModelFileTest, InvalidModelsAreNotWritten) {
  QuantizedModel model = Small();
  model.activations["relu"].scale = {0};
  EXPECT_EQ(Message(SerializeQuantizedModel(model).status()),
            "activation of relu: scale[0] must be finite and above 0, got 0");
  model = Small();
  model.metadata["lowbit.network"] = "mine";
  EXPECT_EQ(Message(SerializeQuantizedModel(model).status()), "metadata: lowbit.network is taken");
}

// The message about a file whose tensors or metadata were changed.
std::string AfterChange(const std::function<void(SafetensorsFile&)>& change) {
  auto file = ParseSafetensors(Serialized(Small()), "small");
  EXPECT_TRUE(file.ok()) << file.status();
  change(*file);
  const auto bytes = SerializeSafetensors(*file);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return Message(ParseQuantizedModel(*bytes, "m.safetensors").status());
}

// The same with a piece of the network's text replaced.
std::string AfterReplacing(const std::string& from, const std::string& to) {
  return AfterChange([&](SafetensorsFile& file) {
    std::string& text = file.metadata["lowbit.network"];
    EXPECT_TRUE(absl::StrContains(text, from)) << text;
    text = absl::StrReplaceAll(text, {{from, to}});
  });
}

TEST(QuantizedModelFileTest, CorruptTensorsAreNamed) {
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) { f.tensors.erase("conv.weight"); }),
            "m.safetensors: conv.weight: missing");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) { f.tensors.erase("conv.weight_scale"); }),
            "m.safetensors: conv.weight_scale: missing");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) { f.tensors.erase("fc.weight"); }), "m.safetensors: fc.weight: missing");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) { f.tensors["extra"] = Floats({1}, {1}); }),
            "m.safetensors: extra: the network has no such parameter");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) {
              f.tensors["conv.weight"].shape = {3, 2};
            }),
            "m.safetensors: conv.weight: expected 2-bit codes of shape [2, 1, 3, 3] as U8 of shape [2, 3], got U8 of "
            "shape [3, 2]");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) { f.tensors["conv.weight"].dtype = DType::kI8; }),
            "m.safetensors: conv.weight: expected 2-bit codes of shape [2, 1, 3, 3] as U8 of shape [2, 3], got I8 of "
            "shape [2, 3]");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) { f.tensors["conv.weight"].bytes[2] = '\x7F'; }),
            "m.safetensors: conv.weight: row 0 has bits set after its last code");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) {
              f.tensors["conv.weight_scale"] = Floats({1, 1, 1}, {3});
            }),
            "m.safetensors: conv.weight: there must be as many zero points as scales, at least one; got 3 scales and 2 "
            "zero points");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) {
              f.tensors["conv.weight_scale"] = Floats({1, 0}, {2});
            }),
            "m.safetensors: conv.weight: scale[1] must be finite and above 0, got 0");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) {
              f.tensors["conv.weight_scale"] = Floats({std::numeric_limits<float>::quiet_NaN(), 1}, {2});
            }),
            "m.safetensors: conv.weight: scale[0] must be finite and above 0, got nan");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) {
              f.tensors["conv.weight_scale"] = Floats({1, 1}, {1, 2});
            }),
            "m.safetensors: conv.weight_scale: expected F32 of one dimension, got F32 of shape [1, 2]");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) {
              f.tensors["conv.weight_zero_point"] = Floats({0, 9}, {2});
            }),
            "m.safetensors: conv.weight: zero_point[1] must be in [-6, 5] (one grid around the codes), got 9");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) {
              f.tensors["conv.bias"] = Floats({std::numeric_limits<float>::infinity(), 1}, {2});
            }),
            "m.safetensors: conv.bias: 1 of 2 values are NaN or infinite");
}

TEST(QuantizedModelFileTest, CorruptDescriptionsAreExplained) {
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) { f.metadata.erase("lowbit.network"); }),
            "m.safetensors: metadata: there is no lowbit.network: these are tensors without a network");
  EXPECT_EQ(
      AfterChange([](SafetensorsFile& f) { f.metadata["lowbit.network"] = "layers {\n  bogus: 1 }"; }),
      "m.safetensors: metadata lowbit.network: 2:8: Message type \"lowbit.LayerProto\" has no field named \"bogus\".");
  EXPECT_EQ(AfterChange([](SafetensorsFile& f) {
              std::string& text = f.metadata["lowbit.network"];
              text = text.substr(0, text.find("quantization"));
            }),
            "m.safetensors: metadata lowbit.network: the network is not quantized");
  EXPECT_EQ(AfterReplacing("packing_version: 1", "packing_version: 2"),
            "m.safetensors: packing_version: this program reads version 1, got 2");
  EXPECT_EQ(
      AfterReplacing("layer: \"conv\"", "layer: \"cone\""),
      "m.safetensors: cone.weight: said to be quantized, but the network has no layer of this name with a weight");
  EXPECT_EQ(AfterReplacing("bits: 2", "bits: 12"), "m.safetensors: conv.weight: bits must be 1 to 8, or 16; got 12");
  EXPECT_EQ(AfterReplacing("bits: 2", "bits: 4"),
            "m.safetensors: conv.weight: expected 4-bit codes of shape [2, 1, 3, 3] as U8 of shape [2, 5], got U8 of "
            "shape [2, 3]");
  EXPECT_EQ(AfterReplacing("bits: 8", "bits: -8"),
            "m.safetensors: activation of input: bits must be 1 to 8, or 16; got -8");
  EXPECT_EQ(AfterReplacing("producer: \"relu\"", "producer: \"input\""),
            "m.safetensors: activation of input: described twice");
  EXPECT_EQ(AfterReplacing("scale: 0.1", "scale: nan"),
            "m.safetensors: activation of relu: scale[0] must be finite and above 0, got nan");
  EXPECT_EQ(AfterReplacing("scale: 0.1", ""),
            "m.safetensors: activation of relu: there must be as many zero points as scales, at least one; got 0 "
            "scales and 1 zero points");
}

// Whatever is cut off or flipped: an error, or (where a flip only made another valid number) a model; never a crash.
TEST(QuantizedModelFileTest, CutAndFlippedFiles) {
  const std::string bytes = Serialized(Small());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto model = ParseQuantizedModel(bytes.substr(0, size), "m.safetensors");
    ASSERT_FALSE(model.ok()) << "cut after " << size;
    ASSERT_THAT(Message(model.status()), HasSubstr("m.safetensors")) << "cut after " << size;
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const char mask : {'\x01', '\x10', '\x80'}) {
      std::string flipped = bytes;
      flipped[i] = static_cast<char>(flipped[i] ^ mask);
      const auto model = ParseQuantizedModel(flipped, "m.safetensors");
      if (model.ok()) {
        ASSERT_EQ(Message(CheckQuantizedModel(*model)), "");
      } else {
        ASSERT_THAT(Message(model.status()), HasSubstr("m.safetensors")) << "flipped " << i;
      }
    }
  }
}

}  // namespace
}  // namespace lowbit
