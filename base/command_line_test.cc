#include "base/command_line.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

class CommandLineTest : public testing::Test {
 protected:
  absl::Status Parse(const std::vector<std::string>& arguments) {
    return ParseCommandLine(arguments, "say --file=<file>", flags_, &help_);
  }

  bool loud_ = false;
  int count_ = 7;
  std::string file_;
  std::vector<std::string> set_;
  bool help_ = false;
  const std::vector<CommandLineFlag> flags_ = {
      {"loud", "tell more", &loud_}, {"count", "of them", &count_}, {"file", "to read", &file_}, {"set", "x=y", &set_}};
};

TEST_F(CommandLineTest, ReadsAllForms) {
  ASSERT_TRUE(Parse({"--file=a=b", "--set", "1", "--loud", "--count", "-3", "--set=", "--file", "c"}).ok());
  EXPECT_EQ(file_, "c");
  EXPECT_THAT(set_, ElementsAre("1", ""));
  EXPECT_TRUE(loud_);
  EXPECT_EQ(count_, -3);
  EXPECT_FALSE(help_);
  ASSERT_TRUE(Parse({"--noloud", "--help"}).ok());
  EXPECT_FALSE(loud_);
  EXPECT_TRUE(help_);
  ASSERT_TRUE(Parse({"--loud=yes"}).ok());
  EXPECT_TRUE(loud_);
}

TEST_F(CommandLineTest, Errors) {
  EXPECT_EQ(Parse({"--lud"}).message(), "unknown flag \"lud\"; did you mean \"loud\"? (known: count, file, loud, set)");
  EXPECT_EQ(Parse({"a.txt"}).message(), "\"a.txt\" is no flag; say --file=<file>");
  EXPECT_EQ(Parse({"--loud=perhaps"}).message(), "--loud=perhaps: \"perhaps\" is no value for it");
  EXPECT_EQ(Parse({"--count=2x"}).message(), "--count=2x: \"2x\" is no value for it");
  EXPECT_EQ(Parse({"--count=99999999999"}).message(), "--count=99999999999: \"99999999999\" is no value for it");
  EXPECT_EQ(Parse({"--file"}).message(), "--file needs a value");
  EXPECT_EQ(Parse({"--file", "--loud"}).message(), "--file needs a value");
  EXPECT_FALSE(Parse({"--nofile"}).ok());
}

TEST_F(CommandLineTest, Help) {
  EXPECT_EQ(CommandLineHelp(flags_),
            "  --loud\n      tell more\n  --count\n      of them\n  --file\n      to read\n  --set\n      x=y\n");
}

}  // namespace
}  // namespace lowbit
