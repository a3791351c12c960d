#include "reconstruction/checkpoint.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "reconstruction/reconstruction_testing.h"

namespace lowbit {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using CheckpointTest = ReconstructionFixture;

std::string Path(const char* name) { return absl::StrCat(testing::TempDir(), "/checkpoint_test_", name); }

TEST_F(CheckpointTest, GoingOnGivesTheSameBytes) {
  for (const auto preset : {ReconstructConfig::LOWBIT, ReconstructConfig::PD_QUANT, ReconstructConfig::ADAROUND}) {
    const ReconstructConfig config = Quick(preset, 20);
    const auto whole = Run(config);
    ASSERT_TRUE(whole.ok()) << whole.status();
    for (size_t stop = 1; stop < whole->blocks.size(); ++stop) {
      const std::string path = Path("going_on.safetensors");
      const std::string fingerprint = ReconstructionFingerprint(model_, start_, config, 1, 77);
      ReconstructionCallbacks callbacks = Quiet();
      callbacks.on_block = [&](const ReconstructionState& state) {
        EXPECT_TRUE(SaveReconstruction(path, state, fingerprint).ok());
        return state.blocks.size() == stop ? absl::CancelledError("stop") : absl::OkStatus();
      };
      EXPECT_EQ(Reconstruct(model_, {start_, {}}, batches_, config, 1, cache_, callbacks).status(),
                absl::CancelledError("stop"));
      const auto state = LoadReconstruction(path, fingerprint);
      ASSERT_TRUE(state.ok()) << state.status();
      EXPECT_EQ(state->blocks.size(), stop);
      const auto rest = Reconstruct(model_, *state, batches_, config, 1, cache_, Quiet());
      ASSERT_TRUE(rest.ok()) << rest.status();
      EXPECT_EQ(Bytes(rest->model), Bytes(whole->model)) << preset << " after " << stop;
      ExpectSameReports(rest->blocks, whole->blocks);
    }
  }
}

TEST_F(CheckpointTest, ACheckpointOfAnotherReconstructionIsRefused) {
  const ReconstructConfig config = Quick();
  const std::string path = Path("another.safetensors");
  const std::string mine = ReconstructionFingerprint(model_, start_, config, 1, 77);
  ASSERT_TRUE(
      SaveReconstruction(path, {start_, {BlockReport{"conv1", 2, 1, 3, 0.5, 7, 5, 4, {0.75, 0.25}, "why"}}}, mine)
          .ok());
  const auto same = LoadReconstruction(path, mine);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(Bytes(same->model), Bytes(start_));
  ExpectSameReports(same->blocks, {BlockReport{"conv1", 2, 1, 3, 0.5, 7, 5, 4, {0.75, 0.25}, "why"}});
  EXPECT_EQ(same->blocks[0].seconds, 0.5);

  // What does not matter for the result.
  ReconstructConfig less_memory = config;
  less_memory.set_memory_mib(10);
  EXPECT_EQ(ReconstructionFingerprint(model_, start_, less_memory, 1, 77), mine);

  ReconstructConfig longer = config;
  longer.set_iterations(41);
  Model other_model = model_;
  other_model.parameters["fc.bias"] = model_.parameters.at("fc.bias").add(1);
  QuantizedModel other_start = start_;
  other_start.activations["relu1"].scale[0] *= 2;
  const auto refused = [&](const std::string& fingerprint) {
    const absl::Status status = LoadReconstruction(path, fingerprint).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                StartsWith(absl::StrCat(path, ": made by another reconstruction, so going on would not be exact: ")));
    return std::string(status.message());
  };
  EXPECT_THAT(refused(ReconstructionFingerprint(model_, start_, longer, 1, 77)),
              HasSubstr("\"iterations: 40\" there, \"iterations: 41\" here"));
  EXPECT_THAT(refused(ReconstructionFingerprint(model_, start_, config, 2, 77)),
              HasSubstr("\"seed: 1\" there, \"seed: 2\" here"));
  EXPECT_THAT(refused(ReconstructionFingerprint(model_, start_, config, 1, 78)),
              HasSubstr("\"images: 000000000000004d\" there, \"images: 000000000000004e\" here"));
  EXPECT_THAT(refused(ReconstructionFingerprint(other_model, start_, config, 1, 77)), HasSubstr("\"float network: "));
  EXPECT_THAT(refused(ReconstructionFingerprint(model_, other_start, config, 1, 77)),
              HasSubstr("\"quantized network: "));
}

TEST_F(CheckpointTest, APackedModelIsNoCheckpoint) {
  const std::string path = Path("model.safetensors");
  ASSERT_TRUE(SaveQuantizedModel(path, start_).ok());
  EXPECT_EQ(LoadReconstruction(path, "").status(),
            absl::InvalidArgumentError(absl::StrCat(path, ": is no checkpoint of a reconstruction")));
  QuantizedModel broken = start_;
  broken.metadata = {{"lowbit.reconstruction.fingerprint", ""}, {"lowbit.reconstruction.blocks", "[{\"name\": 3}]"}};
  ASSERT_TRUE(SaveQuantizedModel(path, broken).ok());
  const absl::Status status = LoadReconstruction(path, "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), StartsWith(absl::StrCat(path, ": lowbit.reconstruction.blocks: ")));
}

}  // namespace
}  // namespace lowbit
