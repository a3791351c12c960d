#include "train/checkpoint.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

using testing::HasSubstr;
using testing::StartsWith;

Checkpoint Example() {
  Checkpoint checkpoint;
  checkpoint.fingerprint = "epochs: 3 \"quoted\"\n\tconv [3, 8, 8]; gr\u00fc\u00dfe";
  checkpoint.seed = 0xfedcba9876543210u;  // More than an int64 holds.
  checkpoint.best_epoch = 2;
  checkpoint.best_score = 0.1 + 0.2;  // Not a short decimal.
  checkpoint.optimizer_steps = 5000000000;
  checkpoint.history = {{1, 0.05, 2.302585092994046, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 7.5},
                        {2, 1e-300, 1.0 / 3, 0.11, 0.21, 0.31, 0.41, 0.51, 0.61, 8.25}};
  checkpoint.parameters = {{"conv.weight", at::tensor({1.5f, -2.0f, 3e-39f, 0.1f}).view({2, 2})},
                           {"bn.running_var", at::tensor({4.0f})}};
  checkpoint.average = {{"conv.weight", at::tensor({5.0f, 6.0f, 7.0f, 8.0f}).view({2, 2})}};
  checkpoint.optimizer = {{"conv.weight.momentum", at::tensor({9.0f})}};
  return checkpoint;
}

void ExpectSame(const ParameterMap& a, const ParameterMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_EQ(b.count(name), 1u) << name;
    EXPECT_TRUE(tensor.equal(b.at(name))) << name;
  }
}

void ExpectSame(const EpochRecord& a, const EpochRecord& b) {
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.learning_rate, b.learning_rate);
  EXPECT_EQ(a.train_loss, b.train_loss);
  EXPECT_EQ(a.train_top1, b.train_top1);
  EXPECT_EQ(a.validation_top1, b.validation_top1);
  EXPECT_EQ(a.validation_top3, b.validation_top3);
  EXPECT_EQ(a.precision, b.precision);
  EXPECT_EQ(a.recall, b.recall);
  EXPECT_EQ(a.f1, b.f1);
  EXPECT_EQ(a.seconds, b.seconds);
}

void ExpectSame(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.fingerprint, b.fingerprint);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.best_epoch, b.best_epoch);
  EXPECT_EQ(a.best_score, b.best_score);
  EXPECT_EQ(a.optimizer_steps, b.optimizer_steps);
  ASSERT_EQ(a.history.size(), b.history.size());
  for (size_t i = 0; i < a.history.size(); ++i) ExpectSame(a.history[i], b.history[i]);
  ExpectSame(a.parameters, b.parameters);
  ExpectSame(a.average, b.average);
  ExpectSame(a.optimizer, b.optimizer);
}

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              absl::StrCat(testing::UnitTest::GetInstance()->current_test_info()->name(), "-", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = (folder_ / "checkpoint.safetensors").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Bytes() const { return ReadFile(path_).value_or(""); }
  void SetBytes(const std::string& bytes) const { ASSERT_TRUE(WriteFileAtomic(path_, bytes).ok()); }

  absl::Status LoadError() const { return LoadCheckpoint(path_).status(); }

  // The error of a file with this training state.
  absl::Status StateError(const std::string& state) const {
    EXPECT_TRUE(SaveParameters(path_, {}, {{"lowbit.training", state}}).ok());
    return LoadError();
  }

  void ExpectUntouched(const std::string& bytes) const {
    EXPECT_EQ(Bytes(), bytes);
    int files = 0;
    for (const auto& entry : fs::directory_iterator(folder_)) files += entry.exists();
    EXPECT_EQ(files, 1);  // No temporary file is left.
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(CheckpointTest, EverythingComesBack) {
  ASSERT_TRUE(SaveCheckpoint(path_, Example()).ok());
  const absl::StatusOr<Checkpoint> loaded = LoadCheckpoint(path_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectSame(*loaded, Example());
}

TEST_F(CheckpointTest, TheBeginningComesBack) {
  ASSERT_TRUE(SaveCheckpoint(path_, Checkpoint()).ok());
  const absl::StatusOr<Checkpoint> loaded = LoadCheckpoint(path_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectSame(*loaded, Checkpoint());
  EXPECT_EQ(loaded->best_score, -1);
}

TEST_F(CheckpointTest, SavingReplacesAndSameStateGivesSameBytes) {
  ASSERT_TRUE(SaveCheckpoint(path_, Checkpoint()).ok());
  ASSERT_TRUE(SaveCheckpoint(path_, Example()).ok());
  const std::string first = Bytes();
  ASSERT_TRUE(SaveCheckpoint(path_, Example()).ok());
  ExpectUntouched(first);
}

// ---- Files that are not whole, or not ours ----

TEST_F(CheckpointTest, MissingFile) {
  EXPECT_EQ(LoadError(), absl::NotFoundError(absl::StrCat("cannot read \"", path_, "\": No such file or directory")));
}

TEST_F(CheckpointTest, CutOffAnywhere) {
  ASSERT_TRUE(SaveCheckpoint(path_, Example()).ok());
  const std::string whole = Bytes();
  for (size_t size = 0; size < whole.size(); size += 1 + size / 16) {
    SetBytes(whole.substr(0, size));
    EXPECT_EQ(LoadError().code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(std::string(LoadError().message()), StartsWith(path_ + ": ")) << size;
    EXPECT_THAT(std::string(LoadError().message()), HasSubstr("the file was cut off")) << size;
  }
  SetBytes(whole.substr(0, whole.size() - 1));
  EXPECT_THAT(std::string(LoadError().message()), HasSubstr("the file was cut off"));
}

TEST_F(CheckpointTest, ForeignFiles) {
  SetBytes("GIF89a, this is a picture");
  EXPECT_THAT(std::string(LoadError().message()), StartsWith(path_ + ": not a safetensors file"));
  ASSERT_TRUE(SaveParameters(path_, Example().parameters, {{"format", "pt"}}).ok());
  EXPECT_EQ(LoadError(), absl::InvalidArgumentError(absl::StrCat(
                             path_, ": not a training checkpoint: its metadata has no \"lowbit.training\"")));
}

TEST_F(CheckpointTest, TensorThatBelongsToNothing) {
  const std::string state =
      R"({"fingerprint": "", "seed": 1, "best_epoch": 0, "best_score": -1, "optimizer_steps": 0, "history": []})";
  EXPECT_EQ(StateError(state), absl::OkStatus());
  ASSERT_TRUE(SaveParameters(path_, {{"conv.weight", at::zeros({1})}}, {{"lowbit.training", state}}).ok());
  EXPECT_EQ(LoadError(), absl::InvalidArgumentError(
                             absl::StrCat(path_, ": unexpected tensor \"conv.weight\" in a training checkpoint")));
}

TEST_F(CheckpointTest, DamagedState) {
  const absl::Status damaged = absl::InvalidArgumentError(
      absl::StrCat(path_, ": the training state in metadata \"lowbit.training\" is damaged"));
  for (
      const char* state : {
          "",
          "{",
          "[]",
          "7",
          // One field missing, or of another type.
          R"({"seed": 1, "best_epoch": 0, "best_score": 0, "optimizer_steps": 0, "history": []})",
          R"({"fingerprint": 1, "seed": 1, "best_epoch": 0, "best_score": 0, "optimizer_steps": 0, "history": []})",
          R"({"fingerprint": "", "best_epoch": 0, "best_score": 0, "optimizer_steps": 0, "history": []})",
          R"({"fingerprint": "", "seed": 1, "best_score": 0, "optimizer_steps": 0, "history": []})",
          R"({"fingerprint": "", "seed": 1, "best_epoch": 0, "best_score": null, "optimizer_steps": 0, "history": []})",
          R"({"fingerprint": "", "seed": 1, "best_epoch": 0, "best_score": 0, "optimizer_steps": "0", "history": []})",
          R"({"fingerprint": "", "seed": 1, "best_epoch": 0, "best_score": 0, "optimizer_steps": 0})",
          R"({"fingerprint": "", "seed": 1, "best_epoch": 0, "best_score": 0, "optimizer_steps": 0, "history": {}})",
          R"({"fingerprint": "", "seed": 1, "best_epoch": 0, "best_score": 0, "optimizer_steps": 0, "history": [3]})",
          R"({"fingerprint": "", "seed": 1, "best_epoch": 0, "best_score": 0, "optimizer_steps": 0, "history": [{}]})",
      }) {
    EXPECT_EQ(StateError(state), damaged) << state;
  }
}

TEST_F(CheckpointTest, TheBestEpochIsOneThatThereWas) {
  Checkpoint checkpoint = Example();
  const int epochs = static_cast<int>(checkpoint.history.size());
  for (const int best : {-1, 0, epochs + 1}) {
    checkpoint.best_epoch = best;
    ASSERT_TRUE(SaveCheckpoint(path_, checkpoint).ok());
    EXPECT_EQ(LoadError(), absl::InvalidArgumentError(absl::StrCat(path_, ": the best epoch must be one of the ",
                                                                   epochs, " that there were, got ", best)));
  }
}

TEST_F(CheckpointTest, DamagedHistoryRecord) {
  ASSERT_TRUE(SaveCheckpoint(path_, Example()).ok());
  const std::string whole = Bytes();
  for (const char* field : {"epoch", "learning_rate", "train_loss", "train_top1", "validation_top1", "validation_top3",
                            "precision", "recall", "f1", "seconds"}) {
    // Renamed, so that the record lacks it. The quotes are escaped: the state is a JSON text within a JSON text.
    std::string bytes = whole;
    const size_t at = bytes.find(absl::StrCat("\\\"", field, "\\\":"));
    ASSERT_NE(at, std::string::npos) << field;
    bytes[at + 2] = 'X';
    SetBytes(bytes);
    EXPECT_THAT(std::string(LoadError().message()), HasSubstr("is damaged")) << field;
  }
}

// ---- Saving that fails ----

TEST_F(CheckpointTest, FullDiskLeavesTheOldFile) {
  ASSERT_TRUE(SaveCheckpoint(path_, Example()).ok());
  const std::string before = Bytes();
  Checkpoint larger = Example();
  larger.parameters["fc.weight"] = at::full({1000, 100}, 1.0f);
  // Stands for a full disk: writes beyond this size fail, once the signal that comes with it is ignored.
  void (*const handler)(int) = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit unlimited = limit;
  limit.rlim_cur = 100000;
  setrlimit(RLIMIT_FSIZE, &limit);
  const absl::Status status = SaveCheckpoint(path_, larger);
  setrlimit(RLIMIT_FSIZE, &unlimited);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status, absl::ResourceExhaustedError(absl::StrCat("cannot write \"", path_, "\": File too large")));
  ExpectUntouched(before);
}

TEST_F(CheckpointTest, WhatCannotBeWrittenLeavesTheOldFile) {
  ASSERT_TRUE(SaveCheckpoint(path_, Example()).ok());
  const std::string before = Bytes();
  Checkpoint broken = Example();
  broken.parameters["fc.weight"] = at::Tensor();
  EXPECT_FALSE(SaveCheckpoint(path_, broken).ok());
  ExpectUntouched(before);
  broken = Example();
  broken.fingerprint = "\xff";
  EXPECT_EQ(SaveCheckpoint(path_, broken),
            absl::InvalidArgumentError(absl::StrCat("cannot write \"", path_, "\": the fingerprint is not UTF-8")));
  ExpectUntouched(before);
}

TEST_F(CheckpointTest, MissingFolder) {
  const std::string path = (folder_ / "none" / "checkpoint.safetensors").string();
  EXPECT_EQ(SaveCheckpoint(path, Example()),
            absl::NotFoundError(absl::StrCat("cannot write \"", path, "\": No such file or directory")));
}

// ---- HistoryTable ----

TEST(HistoryTableTest, ExactText) {
  const std::string header =
      "epoch\tlearning_rate\ttrain_loss\ttrain_top1\tvalidation_top1\tvalidation_"
      "top3\tprecision\trecall\tf1\tseconds\n";
  EXPECT_EQ(HistoryTable({}), header);
  EXPECT_EQ(HistoryTable({{1, 0.05, 2.302585, 0.1, 0.25, 0.33333, 0.41, 0.5, 0.6, 7.56},
                          {12, 1.25e-5, 0.00004, 1, 1, 1, 1, 1, 1, 100}}),
            header +
                "1\t0.05\t2.3026\t0.1000\t0.2500\t0.3333\t0.4100\t0.5000\t0.6000\t7.6\n"
                "12\t1.25e-05\t0.0000\t1.0000\t1.0000\t1.0000\t1.0000\t1.0000\t1.0000\t100.0\n");
}

}  // namespace
}  // namespace lowbit
