#include "base/progress.h"

#include <stdlib.h>

#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A file in memory and a clock that stands still until it is set.
class ProgressTest : public testing::Test {
 protected:
  void SetUp() override { out_ = open_memstream(&buffer_, &size_); }
  void TearDown() override {
    std::fclose(out_);
    std::free(buffer_);
  }

  ProgressOptions Options(bool terminal) {
    ProgressOptions options;
    options.out = out_;
    options.terminal = terminal;
    options.columns = 100;
    options.unicode = true;
    options.colour = false;
    options.clock = [this] { return now_; };
    return options;
  }

  // What was printed since the last call.
  std::string Printed() {
    std::fflush(out_);
    std::string text(buffer_ + seen_, size_ - seen_);
    seen_ = size_;
    return text;
  }

  double now_ = 1000;
  std::FILE* out_ = nullptr;
  char* buffer_ = nullptr;
  size_t size_ = 0;
  size_t seen_ = 0;
};

// What a terminal shows after `text`: its lines, without spaces at their ends.
std::vector<std::string> Screenful(const std::string& text) {
  std::vector<std::string> lines = {""};
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 4, "\r\033[K") == 0) {
      lines.back().clear();
      i += 3;
    } else if (text[i] == '\n') {
      lines.push_back("");
    } else {
      lines.back() += text[i];
    }
  }
  return lines;
}

TEST_F(ProgressTest, PlainLinesEveryTenSecondsAndAtTheEnd) {
  Progress progress("evaluate", 10000, "img", Options(false));
  EXPECT_EQ(Printed(), "");
  now_ += 9.9;
  progress.Advance(2000);
  EXPECT_EQ(Printed(), "");
  now_ += 0.1;
  progress.SetNote("top-1 91.4");
  EXPECT_EQ(Printed(), "evaluate: 2000/10000 img (20%), 200 img/s, 10.0s elapsed, 40.0s to go, top-1 91.4\n");
  progress.Advance(500);
  EXPECT_EQ(Printed(), "");
  now_ += 15;
  progress.Advance(7500);
  EXPECT_EQ(Printed(), "evaluate: 10000/10000 img (100%), 400 img/s, 25.0s elapsed, 0.0s to go, top-1 91.4\n");
  progress.Finish();
  EXPECT_EQ(Printed(), "evaluate: 10000/10000 img in 25.0s, 400 img/s, top-1 91.4\n");
  progress.Finish();
  progress.Advance(1);
  progress.SetNote("too late");
  EXPECT_EQ(Printed(), "");
}

TEST_F(ProgressTest, UnknownTotal) {
  Progress progress("read", 0, "file", Options(false));
  now_ += 16;
  progress.Advance(8);
  EXPECT_EQ(Printed(), "read: 8 file, 0.50 file/s, 16.0s elapsed\n");
  progress.Finish();
  EXPECT_EQ(Printed(), "read: 8 file in 16.0s, 0.50 file/s\n");
}

TEST_F(ProgressTest, AnEarlyEndSaysSo) {
  {
    Progress progress("train", 100, "batch", Options(false));
    now_ += 2;
    progress.Advance(40);
  }
  EXPECT_EQ(Printed(), "train: stopped at 40/100 batch after 2.0s, 20 batch/s\n");
  { Progress progress("train", 100, "batch", Options(false)); }
  EXPECT_EQ(Printed(), "train: stopped at 0/100 batch after 0.0s\n");
}

TEST_F(ProgressTest, BarIsRedrawnInPlace) {
  Progress progress("evaluate", 10000, "img", Options(true));
  EXPECT_EQ(Printed(), absl::StrCat("evaluate  ", std::string(24, ' '), "    0%      0/10000 img  0.0s"));
  now_ += 5;
  progress.Advance(2560);
  // 25.6 % of 24 cells: 6 cells and an eighth.
  EXPECT_EQ(Printed(), absl::StrCat("\r\033[Kevaluate  ██████▏", std::string(17, ' '),
                                    "   25%   2560/10000 img  512 img/s  5.0s < 14.5s"));
  now_ += 1;
  progress.SetNote("top-1 91.40");
  EXPECT_EQ(Printed(), absl::StrCat("\r\033[Kevaluate  ██████▏", std::string(17, ' '),
                                    "   25%   2560/10000 img  427 img/s  6.0s < 17.4s  top-1 91.40"));
  now_ += 1;
  progress.Advance(7440);
  EXPECT_THAT(Printed(), HasSubstr("██  100%  10000/10000 img  1429 img/s  7.0s < 0.0s  top-1 91.4"));
  progress.Finish();
  EXPECT_EQ(Printed(), "\r\033[Kevaluate: 10000/10000 img in 7.0s, 1429 img/s, top-1 91.40\n");
}

TEST_F(ProgressTest, BarIsDrawnAtMostTenTimesASecond) {
  Progress progress("evaluate", 1000, "img", Options(true));
  Printed();
  int drawings = 0;
  for (int i = 0; i < 1000; ++i) {
    now_ += 1 / 256.;
    progress.Advance(1);
    drawings += !Printed().empty();
  }
  EXPECT_GE(drawings, 35);  // in 3.9 seconds
  EXPECT_LE(drawings, 39);
}

TEST_F(ProgressTest, AsciiAndColour) {
  ProgressOptions options = Options(true);
  options.unicode = false;
  options.columns = 60;
  Progress ascii("a", 4, "x", options);
  Printed();
  now_ += 1;
  ascii.Advance(2);
  EXPECT_EQ(Printed(), "\r\033[Ka  #######.......   50%  2/4 x  2.00 x/s  1.0s < 1.0s");
  ascii.Finish();
  options.colour = true;
  Printed();
  Progress colour("a", 4, "x", options);
  Printed();
  now_ += 1;
  colour.Advance(1);
  EXPECT_THAT(Printed(), HasSubstr("a  \033[36m###\033[0m..........."));
}

TEST_F(ProgressTest, NeverWiderThanTheTerminal) {
  for (int columns = 1; columns < 120; ++columns) {
    ProgressOptions options = Options(true);
    options.columns = columns;
    Printed();
    Progress progress("Prüfung", 10000, "img", options);
    now_ += 5;
    progress.Advance(2530);
    progress.SetNote("");
    now_ += 5;
    progress.SetNote("Verlust 0,123 größer");
    const std::string line = Screenful(Printed()).back();
    int width = 0;
    for (const char c : line) width += (c & 0xC0) != 0x80;
    EXPECT_LT(width, columns);
    EXPECT_EQ(line.find("██") != std::string::npos, columns > 40) << "a bar takes ten cells, a quarter of the line";
    EXPECT_EQ(line.find("größer") != std::string::npos, columns >= 107) << line;
  }
}

TEST_F(ProgressTest, ControlCharactersCannotBreakTheLine) {
  ProgressOptions options = Options(false);
  Progress progress("a\nb", 1, "x", options);
  progress.SetNote("c\r\033[2Jd");
  progress.Finish();
  EXPECT_EQ(Printed(), "a b: stopped at 0/1 x after 0.0s, c  [2Jd\n");
}

TEST_F(ProgressTest, LogLinesStandAboveTheBar) {
  Progress progress("evaluate", 100, "img", Options(true));
  LogLine("first\nsecond", out_);
  now_ += 1;
  progress.Advance(50);
  LogLine("third", out_);
  const std::string text = Printed();
  const std::vector<std::string> lines = Screenful(text);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], "first");
  EXPECT_EQ(lines[1], "second");
  EXPECT_EQ(lines[2], "third");
  EXPECT_THAT(lines[3], HasSubstr("50/100 img"));
  progress.Finish();
  LogLine("fourth", out_);
  EXPECT_EQ(Printed(), "\r\033[Kevaluate: stopped at 50/100 img after 1.0s, 50 img/s\nfourth\n");
}

TEST_F(ProgressTest, TheNewestBarIsDrawnAndTheOthersWait) {
  std::string text;
  {
    Progress outer("train", 2, "epoch", Options(true));
    {
      Progress inner("epoch 1", 10, "batch", Options(true));
      now_ += 1;
      inner.Advance(10);
      outer.Advance(1);  // not shown now
      text = Printed();
      EXPECT_THAT(Screenful(text), ElementsAre(HasSubstr("epoch 1  █")));
    }
    text += Printed();
    EXPECT_THAT(Screenful(text), ElementsAre("epoch 1: 10/10 batch in 1.0s, 10 batch/s", HasSubstr("1/2 epoch")));
    now_ += 1;
    outer.Advance(1);
  }
  text += Printed();
  EXPECT_THAT(Screenful(text),
              ElementsAre("epoch 1: 10/10 batch in 1.0s, 10 batch/s", "train: 2/2 epoch in 2.0s, 1.00 epoch/s", ""));
}

TEST_F(ProgressTest, ThreadsDoNotTearLines) {
  {
    Progress progress("work", 4000, "x", Options(true));
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 1000; ++i) {
          progress.Advance(1);
          if (i % 100 == 0) LogLine(absl::StrCat("thread ", t, " at ", i), out_);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  const std::vector<std::string> lines = Screenful(Printed());
  ASSERT_EQ(lines.size(), 42u);
  for (int i = 0; i < 40; ++i) EXPECT_THAT(lines[i], testing::MatchesRegex("thread [0-3] at [0-9]+"));
  EXPECT_EQ(lines[40], "work: 4000/4000 x in 0.0s");
}

TEST_F(ProgressTest, AFileIsNoTerminal) {
  ProgressOptions options = Options(false);
  options.terminal.reset();
  Progress progress("evaluate", 100, "img", options);
  progress.Advance(100);
  progress.Finish();
  EXPECT_EQ(Printed(), "evaluate: 100/100 img in 0.0s\n");
}

TEST(FormatDurationTest, ChoosesTheUnit) {
  EXPECT_EQ(FormatDuration(0), "0.0s");
  EXPECT_EQ(FormatDuration(7.64), "7.6s");
  EXPECT_EQ(FormatDuration(59.94), "59.9s");
  EXPECT_EQ(FormatDuration(59.96), "1m00s");
  EXPECT_EQ(FormatDuration(245), "4m05s");
  EXPECT_EQ(FormatDuration(3599.6), "1h00m");
  EXPECT_EQ(FormatDuration(3 * 3600 + 7 * 60), "3h07m");
  EXPECT_EQ(FormatDuration(52 * 3600), "2d04h");
}

}  // namespace
}  // namespace lowbit
