#ifndef LOWBIT_RECONSTRUCTION_RECONSTRUCTION_TESTING_H_
#define LOWBIT_RECONSTRUCTION_RECONSTRUCTION_TESTING_H_

// What tests of reconstruction start from: a network of three blocks, quantized to the nearest codes.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "model/parameters.h"
#include "quant/activation_cache.h"
#include "quant/quantized_model.h"
#include "reconstruction/reconstruct_config.pb.h"
#include "reconstruction/reconstruction.h"

namespace lowbit {

// SmallResidualGraph (learning/learning_testing.h) with 6 channels and random numbers.
Model SmallModel();

// [count, 3, 6, 6]. Neighbours are alike, as in photographs: of independent numbers the nearest codes would be the best
// ones.
at::Tensor Images(int64_t count, uint64_t seed);

// SmallModel rounded to the nearest: weights at 3 bits, activations at 4.
QuantizedModel Nearest(const Model& model, const at::Tensor& images);

// With rates for a few steps on 96 images.
ReconstructConfig Quick(ReconstructConfig::Preset preset = ReconstructConfig::LOWBIT, int iterations = 40);

ReconstructionCallbacks Quiet();

std::string Bytes(const QuantizedModel& model);

// But for the seconds.
void ExpectSameReports(const std::vector<BlockReport>& a, const std::vector<BlockReport>& b);

class ReconstructionFixture : public testing::Test {
 protected:
  absl::StatusOr<ReconstructionState> Run(const ReconstructConfig& config, uint64_t seed = 1) const {
    return Reconstruct(model_, {start_, {}}, batches_, config, seed, cache_, Quiet());
  }

  const at::Tensor images_ = Images(96, 100);
  const std::vector<at::Tensor> batches_ = {images_.narrow(0, 0, 64), images_.narrow(0, 64, 32)};
  const Model model_ = SmallModel();
  const QuantizedModel start_ = Nearest(model_, images_);
  mutable ActivationCache cache_{testing::TempDir(), 1 << 30};
};

}  // namespace lowbit

#endif  // LOWBIT_RECONSTRUCTION_RECONSTRUCTION_TESTING_H_
