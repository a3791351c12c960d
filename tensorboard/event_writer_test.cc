#include "tensorboard/event_writer.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tensorboard/event.pb.h"
#include "tensorboard/record.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class EventWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto folder = CreateUniqueDir(testing::TempDir() + "/event_writer_test");
    ASSERT_TRUE(folder.ok()) << folder.status();
    parent_ = *folder;
    folder_ = parent_ + "/a/b";
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  std::vector<TensorBoardEvent> Events(const std::string& file) const {
    const auto bytes = ReadFile(absl::StrCat(folder_, "/", file));
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    const auto records = ParseRecords(*bytes);
    EXPECT_TRUE(records.ok()) << records.status();
    std::vector<TensorBoardEvent> events;
    for (const std::string& record : *records) EXPECT_TRUE(events.emplace_back().ParseFromString(record));
    return events;
  }

  std::string parent_, folder_;
};

TEST_F(EventWriterTest, MakesNothingUntilThereIsAnEvent) {
  EventWriter writer(folder_);
  EXPECT_FALSE(fs::exists(folder_));
  ASSERT_TRUE(writer.AddScalar("a", 0, 1).ok());
  EXPECT_THAT(Files(), ElementsAre(testing::MatchesRegex("events\\.out\\.tfevents\\.[0-9]+\\..+\\.[0-9]+\\.0")));
}

TEST_F(EventWriterTest, EventsAreThereAtOnce) {
  EventWriter writer(folder_);
  ASSERT_TRUE(writer.AddScalar("train/loss", 7, 0.5).ok());
  std::vector<TensorBoardEvent> events = Events(Files()[0]);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_GT(events[0].wall_time(), 1.7e9);
  EXPECT_EQ(events[1].step(), 7);
  ASSERT_EQ(events[1].summary().value_size(), 1);
  EXPECT_EQ(events[1].summary().value(0).tag(), "train/loss");
  EXPECT_EQ(events[1].summary().value(0).simple_value(), 0.5f);

  HistogramSummary histogram;
  histogram.min = -1;
  histogram.max = 4;
  histogram.count = 3;
  histogram.sum = 5;
  histogram.sum_squares = 20;
  histogram.limits = {0, 4};
  histogram.counts = {1, 2};
  ASSERT_TRUE(writer.AddHistogram("weights/conv1", 0, histogram, "how they lie").ok());
  ASSERT_TRUE(writer.AddImage("picture", 1, absl::string_view("\x89P\0G", 4), 20, 10).ok());
  ASSERT_TRUE(writer.Restart(3).ok());
  events = Events(Files()[0]);
  ASSERT_EQ(events.size(), 5u);
  const TensorBoardEvent::Histogram& histo = events[2].summary().value(0).histo();
  EXPECT_EQ(histo.min(), -1);
  EXPECT_EQ(histo.max(), 4);
  EXPECT_EQ(histo.num(), 3);
  EXPECT_EQ(histo.sum(), 5);
  EXPECT_EQ(histo.sum_squares(), 20);
  EXPECT_THAT(histo.bucket_limit(), ElementsAre(0, 4));
  EXPECT_THAT(histo.bucket(), ElementsAre(1, 2));
  EXPECT_EQ(events[2].summary().value(0).metadata().summary_description(), "how they lie");
  const TensorBoardEvent::Image& image = events[3].summary().value(0).image();
  EXPECT_EQ(image.width(), 20);
  EXPECT_EQ(image.height(), 10);
  EXPECT_EQ(image.colorspace(), 3);
  EXPECT_EQ(image.encoded_image_string(), std::string("\x89P\0G", 4));
  EXPECT_EQ(events[4].step(), 3);
  EXPECT_EQ(events[4].session_log().status(), TensorBoardEvent::SessionLog::START);
}

// The bytes themselves, for the field numbers are TensorFlow's and not ours to change. 1: wall_time, a double. 2: step.
// 5: summary, in it 1: value, in it 1: tag, 2: simple_value, a float.
TEST_F(EventWriterTest, BytesOfAScalar) {
  TensorBoardEvent event;
  event.set_wall_time(1);
  event.set_step(300);
  event.mutable_summary()->add_value()->set_tag("ab");
  event.mutable_summary()->mutable_value(0)->set_simple_value(1);
  EXPECT_EQ(event.SerializeAsString(), std::string("\x09\0\0\0\0\0\0\xf0\x3f"
                                                   "\x10\xac\x02"
                                                   "\x2a\x0b\x0a\x09\x0a\x02"
                                                   "ab"
                                                   "\x15\0\0\x80\x3f",
                                                   25));
}

TEST_F(EventWriterTest, AnotherWriterAddsAFileThatSortsAfterTheFirst) {
  EventWriter first(folder_);
  ASSERT_TRUE(first.AddScalar("a", 0, 1).ok());
  const std::string earlier = Files()[0];
  EventWriter second(folder_);
  ASSERT_TRUE(second.AddScalar("a", 1, 2).ok());
  ASSERT_EQ(Files().size(), 2u);
  EXPECT_EQ(Files()[0], earlier);
  EXPECT_EQ(Events(Files()[1])[1].step(), 1);
}

TEST_F(EventWriterTest, AFolderThatCannotBeMadeIsNamed) {
  ASSERT_TRUE(WriteFileAtomic(parent_ + "/a", "a file").ok());
  EventWriter writer(folder_);
  EXPECT_EQ(std::string(writer.AddScalar("a", 0, 1).message()),
            absl::StrCat("cannot make the folder \"", folder_, "\": Not a directory"));
}

TEST_F(EventWriterTest, AFullDiskNamesTheFileAndLeavesItWhole) {
  EventWriter writer(folder_);
  ASSERT_TRUE(writer.AddScalar("a", 0, 1).ok());
  const std::string path = absl::StrCat(folder_, "/", Files()[0]);
  const auto size = fs::file_size(path);
  // A limit on the size of files stands for a full disk.
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit limited = before;
  limited.rlim_cur = size + 100;
  setrlimit(RLIMIT_FSIZE, &limited);
  const absl::Status status = writer.AddImage("b", 0, std::string(1000, 'x'), 1, 1);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status, absl::ResourceExhaustedError(absl::StrCat("cannot write \"", path, "\": File too large")));
  EXPECT_EQ(fs::file_size(path), size);
  // With room again it goes on.
  ASSERT_TRUE(writer.AddScalar("c", 1, 2).ok());
  EXPECT_EQ(Events(Files()[0]).size(), 3u);
}

}  // namespace
}  // namespace lowbit
