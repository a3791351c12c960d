#include "pipeline/paths.h"

#include <filesystem>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

std::string TestFolder(const std::string& name) {
  const std::string folder = JoinPath(testing::TempDir(), name);
  std::filesystem::remove_all(folder);
  return folder;
}

// Writes a file that is `age` seconds old.
void Touch(const std::string& path, int age) {
  ASSERT_TRUE(MakeDirs(std::filesystem::path(path).parent_path().string()).ok());
  ASSERT_TRUE(WriteFileAtomic(path, "x").ok());
  std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() - std::chrono::seconds(age));
}

TEST(NewestPackedModel, IsTheOneWrittenLast) {
  const std::string out = TestFolder("newest_model");
  EXPECT_EQ(NewestPackedModel(out), "");
  Touch(out + "/a-1/model.safetensors", 20);
  Touch(out + "/b-1/model_bits=2.safetensors", 10);
  Touch(out + "/c-1/model.safetensors", 30);
  Touch(out + "/c-1/report.json", 0);
  Touch(out + "/c-1/best.safetensors", 0);
  EXPECT_EQ(NewestPackedModel(out), out + "/b-1/model_bits=2.safetensors");
}

TEST(NewestPackedModel, OfTheSameMomentIsTheLastByName) {
  const std::string out = TestFolder("same_moment");
  Touch(out + "/a-1/model.safetensors", 0);
  Touch(out + "/a-2/model.safetensors", 0);
  const auto time = std::filesystem::last_write_time(out + "/a-2/model.safetensors");
  std::filesystem::last_write_time(out + "/a-1/model.safetensors", time);
  EXPECT_EQ(NewestPackedModel(out), out + "/a-2/model.safetensors");
}

TEST(WeightsNewestFirst, AreThoseOfTrainingsAndOfSaveSteps) {
  const std::string out = TestFolder("newest_weights");
  EXPECT_THAT(WeightsNewestFirst(out), testing::IsEmpty());
  Touch(out + "/a-1/best.safetensors", 20);
  Touch(out + "/a-1/checkpoint.safetensors", 0);
  Touch(out + "/b-1/model.safetensors", 0);
  Touch(out + "/b-1/report.json", 0);
  Touch(out + "/c-1/mine.safetensors", 10);
  Touch(out + "/c-1/seed=2/best.safetensors", 30);
  EXPECT_THAT(WeightsNewestFirst(out),
              testing::ElementsAre(out + "/c-1/mine.safetensors", out + "/a-1/best.safetensors",
                                   out + "/c-1/seed=2/best.safetensors"));
}

TEST(NewestTorchInt8Model, MayLieInTheFolderOfASweepsValue) {
  const std::string out = TestFolder("newest_int8");
  EXPECT_EQ(NewestTorchInt8Model(out), "");
  Touch(out + "/a-1/int8.pt", 20);
  Touch(out + "/b-1/bits=8/int8.pt", 10);
  EXPECT_EQ(NewestTorchInt8Model(out), out + "/b-1/bits=8/int8.pt");
}

TEST(NewestCheckpoint, IsOfThisConfig) {
  const std::string out = TestFolder("newest_checkpoint");
  Touch(out + "/train-20260101-000000/checkpoint.safetensors", 20);
  Touch(out + "/train-20260102-000000/checkpoint.safetensors", 10);
  Touch(out + "/train-wide-20260103-000000/checkpoint.safetensors", 5);
  Touch(out + "/train-20260104-000000/report.json", 0);
  EXPECT_EQ(NewestCheckpoint(out, "train"), out + "/train-20260102-000000");
  EXPECT_EQ(NewestCheckpoint(out, "train-wide"), out + "/train-wide-20260103-000000");
  EXPECT_EQ(NewestCheckpoint(out, "tra"), "");
  // Named by a date itself, which is not the run's time.
  Touch(out + "/train-2-20260105-000000/checkpoint.safetensors", 1);
  EXPECT_EQ(NewestCheckpoint(out, "train"), out + "/train-20260102-000000");
  // Two that began in the same second; and one that trains for each value of a sweep.
  Touch(out + "/train-20260102-000000-2/checkpoint.safetensors", 4);
  EXPECT_EQ(NewestCheckpoint(out, "train"), out + "/train-20260102-000000-2");
  Touch(out + "/train-20260101-000000/seed=2/checkpoint.safetensors", 3);
  EXPECT_EQ(NewestCheckpoint(out, "train"), out + "/train-20260101-000000");
  // Those of other steps that can be gone on with.
  Touch(out + "/learn-20260101-000000/reconstruction-2.safetensors", 9);
  Touch(out + "/learn-20260102-000000/model.safetensors", 1);
  EXPECT_EQ(NewestCheckpoint(out, "learn"), out + "/learn-20260101-000000");
  Touch(out + "/learn-20260103-000000/distillation.safetensors", 8);
  EXPECT_EQ(NewestCheckpoint(out, "learn"), out + "/learn-20260103-000000");
}

}  // namespace
}  // namespace lowbit
