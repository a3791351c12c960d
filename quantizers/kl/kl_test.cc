#include <algorithm>
#include <cmath>
#include <vector>

#include "base/field_error.h"
#include "base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/quantizer_testing.h"
#include "quantizers/kl/options.pb.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

absl::StatusOr<std::unique_ptr<Quantizer>> TryCreate(const KlOptions& options) {
  return CreateQuantizerWith("kl", options);
}

QuantParams Fit(const std::vector<float>& values, int bits, const KlOptions& options = KlOptions(),
                int64_t images = 1) {
  return FitValues(**TryCreate(options), values, bits, images);
}

// Numbers so small that bins do not grow any wider: 2^-51.
constexpr float kBinWidth = 0x1p-51f;

// counts[i] values in the middle of the bin i above 0.
std::vector<float> InBins(const std::vector<int>& counts) {
  std::vector<float> values;
  for (size_t i = 0; i < counts.size(); ++i) {
    for (int n = 0; n < counts[i]; ++n) values.push_back((static_cast<float>(i) + 0.5f) * kBinWidth);
  }
  return values;
}

std::vector<float> Normal(int count) {
  Rng rng({3});
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(rng.Normal()));
  return values;
}

// Two bits, thresholds of 4 and 5 bins (there are no fewer than codes).
//   T = 5, cut at 4.5: codes at 0, 1.5, 3, 4.5 bins. The bins 2 and 3 share one:
//       3/n ln(3 / 2) + 1/n ln(1 / 2) = 0.523 / n
//   T = 4: codes at 0, 4/3, 8/3, 4 bins, each bin has its own. The k values of bin 4 are added to the 1 of bin 3:
//       19/n ln(20 / n) + (1 + k)/n ln(20 (1 + k) / n)
//   k = 1, n = 21: 0.025 and 0.017. k = 2, n = 22: 0.024 and 0.055.
TEST(KlTest, HandComputed) {
  EXPECT_THAT(Fit(InBins({8, 8, 3, 1, 1}), 2).scale, ElementsAre(4 * kBinWidth / 3));
  EXPECT_THAT(Fit(InBins({8, 8, 3, 1, 2}), 2).scale, ElementsAre(1.5f * kBinWidth));
}

TEST(KlTest, ZerosDoNotCount) {
  std::vector<float> values = InBins({8, 8, 3, 1, 1});
  values.resize(values.size() + 1000);
  EXPECT_THAT(Fit(values, 2).scale, ElementsAre(4 * kBinWidth / 3));
}

// The outlier makes bins 1 / 32 wide, so that 256 codes of one side want a threshold of 8 at least.
TEST(KlTest, AnOutlierIsDropped) {
  for (const bool relu : {false, true}) {
    std::vector<float> values = Normal(50000);
    if (relu) {
      for (float& x : values) x = std::max(x, 0.0f);
    }
    values[77] = 60;
    for (const int bits : {4, 8}) {
      const QuantParams params = Fit(values, bits);
      const double hi = (params.qmax() - params.zero_point[0]) * params.scale[0];
      EXPECT_LE(hi, 8.001) << bits << " bits, ReLU " << relu;
      EXPECT_GT(hi, 1.5) << bits << " bits, ReLU " << relu;
    }
  }
}

// All codes' bins are equally full: nothing is lost but by clipping.
TEST(KlTest, AnEvenDistributionIsKept) {
  std::vector<float> values;
  for (int i = 0; i < 20480; ++i) values.push_back((static_cast<float>(i) + 0.5f) / 20480);
  for (const int bits : {2, 4, 8}) {
    EXPECT_NEAR(Fit(values, bits).scale[0], 1 / (std::pow(2, bits) - 1), 0.002 / std::pow(2, bits)) << bits;
  }
}

TEST(KlTest, TheSmallerSideIsNotStretched) {
  std::vector<float> values = Normal(50000);
  for (float& x : values) x = x < 0 ? 0.1f * x : x;
  const QuantParams params = Fit(values, 8);
  const double lo = -params.zero_point[0] * params.scale[0];
  EXPECT_GE(lo, *std::min_element(values.begin(), values.end()) - params.scale[0]);
}

TEST(KlTest, SixteenBitsKeepEverything) { EXPECT_THAT(Fit({0, 1, 65535}, 16).scale, ElementsAre(1)); }

TEST(KlTest, SymmetricActivations) {
  KlOptions options;
  options.set_activation_scheme(RangeOptions::SYMMETRIC);
  const QuantParams params = Fit(Normal(50000), 8, options);
  EXPECT_TRUE(params.is_signed);
  EXPECT_THAT(params.zero_point, ElementsAre(0));
}

TEST(KlTest, RefusesWeights) {
  const Layer layer{"fc", Linear{3, 2, false}, {0}};
  const absl::Status status = (*TryCreate({}))->Supports(layer, Role::kWeight, 8);
  EXPECT_EQ(ErrorField(status), "name");
  EXPECT_EQ(status.message(),
            "chooses ranges of activations only, and this is the weight of fc; mse or percentile serve weights");
}

}  // namespace
}  // namespace lowbit
