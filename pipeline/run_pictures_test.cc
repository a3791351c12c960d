// What runs leave to look at: TensorBoard's events, and pictures.

#include <stb/stb_image.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "pipeline/paths.h"
#include "pipeline/run_fixture.h"
#include "tensorboard/event.pb.h"
#include "tensorboard/record.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using testing::UnorderedElementsAre;

class RunPicturesTest : public RunTest {
 protected:
  // What TensorBoard would find in a folder, file after file: "0 train/loss", "1 weights/conv1", with the step;
  // "restart 3" and "file".
  static std::vector<std::string> Events(const std::string& folder) {
    std::vector<std::string> files, events;
    for (const std::string& name : FilesIn(folder)) {
      if (fs::is_regular_file(JoinPath(folder, name))) files.push_back(name);
    }
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) {
      EXPECT_THAT(file, StartsWith("events.out.tfevents."));
      const auto records = ParseRecords(Bytes(folder, file.c_str()));
      EXPECT_TRUE(records.ok()) << records.status();
      for (const std::string& record : records.value()) {
        TensorBoardEvent event;
        EXPECT_TRUE(event.ParseFromString(record));
        if (event.file_version() == "brain.Event:2") events.push_back("file");
        if (event.has_session_log()) events.push_back(absl::StrCat("restart ", event.step()));
        for (const auto& value : event.summary().value()) {
          events.push_back(absl::StrCat(event.step(), " ", value.tag()));
        }
      }
    }
    return events;
  }

  // The size of a PNG file that a decoder takes.
  static std::pair<int, int> PngSize(const std::string& png) {
    int width = 0, height = 0, channels = 0;
    unsigned char* pixels = stbi_load_from_memory(reinterpret_cast<const unsigned char*>(png.data()),
                                                  static_cast<int>(png.size()), &width, &height, &channels, 0);
    EXPECT_NE(pixels, nullptr);
    stbi_image_free(pixels);
    return {width, height};
  }
};

TEST_F(RunPicturesTest, TrainingWritesScalarsAndHistogramsOfEveryEpoch) {
  std::string two_epochs(kTrain);
  two_epochs.replace(two_epochs.find("epochs: 1"), 9, "epochs: 2");
  const auto run = Run(two_epochs);
  ASSERT_TRUE(run.ok()) << run.status();
  const std::vector<std::string> events = Events(JoinPath(run->folder, "tensorboard"));
  EXPECT_EQ(events[0], "file");
  EXPECT_THAT(events, testing::IsSupersetOf({"1 train/loss", "2 train/loss", "2 train/top-1", "2 train/learning rate",
                                             "2 train/seconds", "2 held-out/top-1", "2 held-out/top-3",
                                             "2 held-out/precision", "2 held-out/recall", "2 held-out/F1",
                                             "1 parameters/conv1.weight", "2 parameters/linear.bias"}));
  EXPECT_EQ(std::count(events.begin(), events.end(), "2 train/loss"), 1);
}

// A run that goes on after its first epoch takes back what it wrote of later ones before it was killed.
TEST_F(RunPicturesTest, AResumedTrainingTakesBackWhatItHadWrittenOfLaterEpochs) {
  std::string two_epochs(kTrain);
  two_epochs.replace(two_epochs.find("epochs: 1"), 9, "epochs: 2");
  auto config = Config::Parse(two_epochs, "configs/tiny.textproto");
  ASSERT_TRUE(config.ok() && config->Set("output_dir", output_dir_, "test").ok());
  PlanOptions options;
  options.open_data = [](Split split) -> absl::StatusOr<std::unique_ptr<Dataset>> {
    auto images = OpenSynthetic(split);
    // An epoch learns from 64 images and looks at the 16 held out; the loader is not a whole epoch ahead.
    return std::make_unique<Counting>(*std::move(images), [](int64_t reads) {
      if (reads == 64 + 16 + 64 + 16) RequestInterruptForTest();
    });
  };
  const auto plan = PlanRun(*config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  RunResult killed;
  const absl::Status status = ExecuteRun(*plan, &killed);
  ClearInterrupt();
  ASSERT_TRUE(absl::IsCancelled(status)) << status;
  const std::string folder = JoinPath(killed.folder, "tensorboard");
  const size_t before = Events(folder).size();
  EXPECT_THAT(Events(folder), Contains("1 train/loss"));
  EXPECT_THAT(Events(folder), Not(Contains("2 train/loss")));

  const auto resumed = Run(two_epochs, /*resume=*/true);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->folder, killed.folder);
  const std::vector<std::string> events = Events(folder);
  ASSERT_GT(events.size(), before + 2);
  EXPECT_EQ(events[before], "file");
  EXPECT_EQ(events[before + 1], "restart 2");
  EXPECT_EQ(events[before + 2], "2 train/loss");
}

TEST_F(RunPicturesTest, QuantizationWritesWeightsAndActivationsBeforeAndAfter) {
  const auto run = Run(absl::StrCat(TrainedModel(), "steps { evaluate {} }", kQuantize));
  ASSERT_TRUE(run.ok()) << run.status();
  const std::vector<std::string> events = Events(JoinPath(run->folder, "tensorboard"));
  for (const char* tag : {"weights/conv1", "weights/layer1.0.conv2", "weights/linear", "activations/input"}) {
    EXPECT_THAT(events, testing::IsSupersetOf({absl::StrCat("0 ", tag), absl::StrCat("1 ", tag)}));
  }
  // Float, then quantized.
  EXPECT_THAT(events, testing::IsSupersetOf({"0 evaluate/accuracy", "1 evaluate/accuracy", "1 evaluate/top-3",
                                             "1 evaluate/precision", "1 evaluate/recall", "1 evaluate/F1",
                                             "0 evaluate/confusion", "1 evaluate/confusion"}));
}

TEST_F(RunPicturesTest, EachValueOfASweepIsARunOfTensorBoards) {
  const auto run = Run(absl::StrCat(TrainedModel(), "steps { evaluate { name: \"float\" } }", kQuantize, kSweep));
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string folder = JoinPath(run->folder, "tensorboard");
  EXPECT_THAT(Events(folder), ElementsAre("file", "0 evaluate/accuracy", "0 evaluate/top-3", "0 evaluate/precision",
                                          "0 evaluate/recall", "0 evaluate/F1", "0 evaluate/confusion"));
  for (const char* value : {"bits=2", "bits=4", "bits=8"}) {
    EXPECT_THAT(Events(JoinPath(folder, value)),
                testing::IsSupersetOf({"1 weights/conv1", "1 activations/input", "0 evaluate/accuracy"}));
  }
}

TEST_F(RunPicturesTest, TensorBoardChangesNoModelAndCanBeTurnedOff) {
  const std::string text = absl::StrCat(TrainedModel(), kQuantize);
  const auto with = Run(text);
  const auto without = Run(absl::StrCat("tensorboard: false ", text));
  ASSERT_TRUE(with.ok() && without.ok());
  EXPECT_THAT(FilesIn(without->folder),
              UnorderedElementsAre("config.textproto", "report.json", "report.md", "model.safetensors"));
  EXPECT_EQ(Bytes(with->folder, "model.safetensors"), Bytes(without->folder, "model.safetensors"));
}

TEST_F(RunPicturesTest, ARunWithoutEventsMakesNoFolder) {
  const auto run = Run(absl::StrCat(TrainedModel(), "steps { summary {} }"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(FilesIn(run->folder), UnorderedElementsAre("config.textproto", "report.json", "report.md"));
}

TEST_F(RunPicturesTest, EventsThatCannotBeWrittenAreAnErrorThatNamesThePlace) {
  const auto first = Run(kTrain);
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string folder = JoinPath(first->folder, "tensorboard");
  fs::remove_all(folder);
  ASSERT_TRUE(WriteFileAtomic(folder, "a file").ok());
  const auto plan = Plan(absl::StrCat(kTrain, "steps { evaluate {} }"), /*resume=*/true);
  ASSERT_TRUE(plan.ok()) << plan.status();
  RunResult result;
  EXPECT_EQ(std::string(ExecuteRun(*plan, &result).message()),
            absl::StrCat("configs/tiny.textproto:4:9: steps[1].evaluate: cannot make the folder \"", folder,
                         "\": Not a directory"));
  EXPECT_EQ(result.report.rows.size(), 1u);  // what was found out is not lost
}

// ---- Mistakes ----

TEST_F(RunPicturesTest, MistakesAreDrawnOnOneSheet) {
  const std::string model = TrainedModel();
  testing::internal::CaptureStderr();
  const auto run = Run(absl::StrCat(model, "steps { evaluate { mistakes: 3 per_class: true } } ",
                                    "steps { evaluate { mistakes: 2 name: \"again & again\" } } ",
                                    "steps { evaluate { mistakes: 1 name: \"again & again\" } } "));
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("evaluate float, class by class:\n\nclass   accuracy  precision      F1  images\n"));
  EXPECT_THAT(said, HasSubstr(absl::StrCat("evaluate float, most confident mistakes (", run->folder,
                                           "/mistakes.png):\n\nimage  class   taken for  confidence\n")));
  EXPECT_THAT(said, Not(HasSubstr("evaluate again & again, class by class")));
  // One epoch on few images: it makes mistakes.
  const auto& mistakes = run->report.rows[0].result.mistakes;
  ASSERT_EQ(mistakes.size(), 3u);
  EXPECT_NE(mistakes[0].label, mistakes[0].prediction);
  EXPECT_GE(mistakes[0].confidence, mistakes[1].confidence);
  EXPECT_THAT(FilesIn(run->folder),
              testing::IsSupersetOf({"mistakes.png", "mistakes_again___again.png", "mistakes_again___again-2.png"}));
  // Three tiles of 192 pixels side by side.
  EXPECT_EQ(PngSize(Bytes(run->folder, "mistakes.png")).first, 16 + 3 * (192 + 16));
  const auto json = nlohmann::json::parse(Bytes(run->folder, "report.json"));
  EXPECT_EQ(json["steps"][0]["mistakes"], "mistakes.png");
  EXPECT_EQ(json["evaluations"][0]["mistakes"].size(), 3u);
  EXPECT_THAT(Events(JoinPath(run->folder, "tensorboard")),
              testing::IsSupersetOf({"0 evaluate/mistakes", "1 evaluate/mistakes"}));
}

TEST_F(RunPicturesTest, InASweepEachValueHasItsSheet) {
  std::string text = absl::StrCat(TrainedModel(), "steps { evaluate {} }", kQuantize, kSweep);
  text.replace(text.rfind("evaluate {}"), 11, "evaluate { mistakes: 4 }");
  const auto run = Run(text);
  ASSERT_TRUE(run.ok()) << run.status();
  for (const char* file : {"bits=2/mistakes.png", "bits=4/mistakes.png", "bits=8/mistakes.png"}) {
    EXPECT_GT(PngSize(Bytes(run->folder, file)).second, 192) << file;
  }
}

}  // namespace
}  // namespace lowbit
