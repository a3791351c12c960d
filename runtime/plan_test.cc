#include "runtime/plan.h"

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/packing.h"

namespace lowbit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Of one scale and zero point.
QuantParams Params(int bits, bool is_signed, float scale, float zero_point) {
  QuantParams params;
  params.bits = bits;
  params.is_signed = is_signed;
  params.scale = {scale};
  params.zero_point = {zero_point};
  return params;
}

TensorBlob Floats(const std::vector<float>& values) {
  TensorBlob blob;
  blob.dtype = DType::kF32;
  blob.shape = {static_cast<int64_t>(values.size())};
  blob.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return blob;
}

PackedWeight Pack(const Shape& shape, const QuantParams& params, const std::vector<int32_t>& codes) {
  PackedWeight packed;
  packed.shape = shape;
  packed.params = params;
  packed.codes = PackCodes(codes, packed.row_size(), params.bits, params.qmin());
  return packed;
}

Conv2d OneToOne(int64_t kernel, int64_t padding) {
  Conv2d conv;
  conv.in_channels = conv.out_channels = 1;
  conv.kernel = {1, kernel};
  conv.padding = {0, padding};
  conv.bias = true;
  return conv;
}

// input (quantized) -> conv -> relu (quantized), one channel of one row of four pixels.
QuantizedModel ConvRelu(const QuantParams& input, const QuantParams& weight, const std::vector<int32_t>& codes,
                        const QuantParams& output, int64_t padding) {
  std::vector<Layer> layers = {
      {"input", Input{1, 1, 4}, {}}, {"conv", OneToOne(3, padding), {0}}, {"relu", Relu{}, {1}}};
  QuantizedModel model{*Graph::Create(layers), {}, {}, {}, {}};
  model.weights["conv"] = Pack({1, 1, 1, 3}, weight, codes);
  model.parameters["conv.bias"] = Floats({0.5f});
  model.activations["input"] = input;
  model.activations["relu"] = output;
  return model;
}

const ConvOp& Conv(const Plan& plan, size_t step) { return std::get<ConvOp>(plan.steps[step].op); }

TEST(Plan, FoldsScalesAndBiasByHand) {
  const auto plan = MakePlan(
      ConvRelu(Params(4, false, 0.5f, 0), Params(4, true, 0.25f, 0), {-8, 0, 7}, Params(4, false, 0.125f, 0), 1));
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->steps.size(), 2u);  // the codes of the images, and the rest
  EXPECT_EQ(plan->steps[1].layers, "conv + relu");
  const ConvOp& conv = Conv(*plan, 1);
  EXPECT_THAT(conv.weight, ElementsAre(-8, 0, 7));
  EXPECT_THAT(conv.epilogue.multiplier, ElementsAre(1.0f));  // 0.25 * 0.5 / 0.125
  EXPECT_THAT(conv.epilogue.bias, ElementsAre(4.0f));        // 0.5 / 0.125
  EXPECT_TRUE(conv.epilogue.patch_multiplier.empty());
  EXPECT_EQ(conv.epilogue.lower, 0);
  EXPECT_EQ(conv.epilogue.upper, 15);
}

TEST(Plan, TellsBordersApartWherePaddingIsNotZero) {
  // Signed codes of 2 bits: u = q + 2, zero point 2.
  const auto plan =
      MakePlan(ConvRelu(Params(2, true, 1, 0), Params(4, true, 1, 0), {1, 2, 4}, Params(8, false, 1, 0), 1));
  ASSERT_TRUE(plan.ok()) << plan.status();
  const ConvOp& conv = Conv(*plan, 1);
  EXPECT_EQ(plan->tensors[static_cast<size_t>(conv.input)].zero_point, 2);
  EXPECT_EQ(plan->tensors[static_cast<size_t>(conv.input)].max_code, 3);
  EXPECT_THAT(conv.column_class, ElementsAre(0, 1, 1, 2));
  // 0.5 - 2 * the sum of the taps inside: without the first, all, without the last.
  EXPECT_THAT(conv.epilogue.bias, ElementsAre(0.5f - 12, 0.5f - 14, 0.5f - 6));
}

TEST(Plan, OneBitBecomesPlusAndMinusOne) {
  const auto plan =
      MakePlan(ConvRelu(Params(8, false, 1, 0), SignParams({0.75f}), {-1, 0, -1}, Params(8, false, 1, 0), 0));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Conv(*plan, 1).weight, ElementsAre(-1, 1, -1));
  EXPECT_THAT(Conv(*plan, 1).epilogue.multiplier, ElementsAre(0.75f));
}

TEST(Plan, WholeZeroPointsOfWeightsVanishAndOthersStay) {
  const auto whole =
      MakePlan(ConvRelu(Params(8, false, 1, 0), Params(4, false, 1, 5), {0, 5, 15}, Params(8, false, 1, 0), 0));
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_THAT(Conv(*whole, 1).weight, ElementsAre(-5, 0, 10));
  EXPECT_TRUE(Conv(*whole, 1).epilogue.patch_multiplier.empty());

  const auto part =
      MakePlan(ConvRelu(Params(8, false, 1, 0), Params(4, false, 1, 5.25f), {0, 5, 15}, Params(8, false, 1, 0), 0));
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_THAT(Conv(*part, 1).weight, ElementsAre(-5, 0, 10));
  EXPECT_THAT(Conv(*part, 1).epilogue.patch_multiplier, ElementsAre(-0.25f));
}

TEST(Plan, LevelsStandForThemselves) {
  QuantParams apot = Params(3, true, 1, 0);
  apot.levels = {-8, -4, -2, 0, 1, 2, 4, 8};
  const auto plan = MakePlan(ConvRelu(Params(8, false, 1, 0), apot, {-4, 3, -1}, Params(8, false, 1, 0), 0));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Conv(*plan, 1).weight, ElementsAre(-8, 8, 0));
}

TEST(Plan, WhatHasNoBytesIsComputedInFloats) {
  const auto sixteen =
      MakePlan(ConvRelu(Params(16, false, 1, 0), Params(4, true, 1, 0), {1, 2, 3}, Params(8, false, 1, 0), 0));
  ASSERT_TRUE(sixteen.ok()) << sixteen.status();
  EXPECT_TRUE(std::holds_alternative<FloatConvOp>(sixteen->steps[1].op));

  QuantParams bases = Params(2, true, 1, 0);
  bases.bases = {0.5f};
  const auto multi_base = MakePlan(ConvRelu(Params(8, false, 1, 0), bases, {-2, -1, 1}, Params(8, false, 1, 0), 0));
  ASSERT_TRUE(multi_base.ok()) << multi_base.status();
  EXPECT_THAT(std::get<FloatConvOp>(multi_base->steps[1].op).weight, ElementsAre(-1.5f, -0.5f, 1.5f));
}

TEST(Plan, ShortcutsAreReadWhereTheyAre) {
  Conv2d conv;
  conv.in_channels = 2;
  conv.out_channels = 4;
  conv.stride = {2, 2};
  std::vector<Layer> layers = {{"input", Input{2, 4, 4}, {}},   {"conv", conv, {0}},    {"sub", Subsample{{2, 2}}, {0}},
                               {"pad", PadChannels{1, 1}, {2}}, {"add", Add{}, {1, 3}}, {"relu", Relu{}, {4}}};
  QuantizedModel model{*Graph::Create(layers), {}, {}, {}, {}};
  model.weights["conv"] = Pack({4, 2, 1, 1}, Params(4, true, 1, 0), std::vector<int32_t>(8, 1));
  model.activations["input"] = Params(4, false, 0.5f, 3);
  model.activations["relu"] = Params(4, false, 0.25f, 0);
  const auto plan = MakePlan(model);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->steps.size(), 2u);
  EXPECT_EQ(plan->steps[1].layers, "conv + add + relu");
  const Epilogue& epilogue = Conv(*plan, 1).epilogue;
  EXPECT_EQ(epilogue.shortcut.tensor, Conv(*plan, 1).input);
  EXPECT_EQ(epilogue.shortcut.before, 1);
  EXPECT_THAT(epilogue.shortcut.stride, ElementsAre(2, 2));
  EXPECT_EQ(epilogue.shortcut.multiplier, 2);
  // -0.5 * 3 * 2 of the sum, and where there is a shortcut -0.5 * 3 of that, over 0.25.
  EXPECT_THAT(epilogue.bias, ElementsAre(-12.0f, -18.0f, -18.0f, -12.0f));
}

TEST(Plan, LinearLayersReadPixelsInPlace) {
  std::vector<Layer> layers = {
      {"input", Input{2, 1, 2}, {}}, {"flatten", Flatten{}, {0}}, {"linear", Linear{4, 1, false}, {1}}};
  QuantizedModel model{*Graph::Create(layers), {}, {}, {}, {}};
  // Of [channel, column]: 1 2 / 3 4.
  model.weights["linear"] = Pack({1, 4}, Params(4, true, 1, 0), {1, 2, 3, 4});
  model.activations["input"] = Params(8, false, 1, 0);
  const auto plan = MakePlan(model);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Conv(*plan, 1).weight, ElementsAre(1, 3, 2, 4));  // of [column, channel]
  EXPECT_FALSE(plan->output_tensor().is_codes);
}

TEST(Plan, RefusesScalesThatFloat32CannotHold) {
  const auto plan = MakePlan(
      ConvRelu(Params(8, false, 1e30f, 0), Params(4, true, 1e30f, 0), {1, 2, 3}, Params(8, false, 1e-30f, 0), 0));
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr("layer \"conv\": its scales are too far apart"));
}

}  // namespace
}  // namespace lowbit
