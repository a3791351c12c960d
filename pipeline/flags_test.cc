#include "pipeline/flags.h"

#include "gtest/gtest.h"

namespace lowbit {
namespace {

TEST(ParseFlags, ReadsAllForms) {
  const auto flags = ParseFlags({"--config=a.textproto", "--set", "seed=3", "--dry_run", "--set=x[0]=a=b",
                                 "--threads=2", "--resume", "--noresume", "--data_dir", "/d"});
  ASSERT_TRUE(flags.ok()) << flags.status();
  EXPECT_EQ(flags->config, "a.textproto");
  EXPECT_EQ(flags->set, (std::vector<std::string>{"seed=3", "x[0]=a=b"}));
  EXPECT_TRUE(flags->dry_run);
  EXPECT_FALSE(flags->resume);
  EXPECT_EQ(flags->threads, "2");
  EXPECT_EQ(flags->data_dir, "/d");
  EXPECT_FALSE(flags->help);
}

TEST(ParseFlags, Errors) {
  EXPECT_EQ(ParseFlags({"--dry-run"}).status().message(),
            "unknown flag \"dry-run\"; did you mean \"dry_run\"? (known: config, data_dir, dry_run, list, output_dir, "
            "resume, set, threads)");
  EXPECT_EQ(ParseFlags({"a.textproto"}).status().message(),
            "\"a.textproto\" is no flag; a config is given as --config=<file>");
  EXPECT_EQ(ParseFlags({"--dry_run=perhaps"}).status().message(), "--dry_run=perhaps: \"perhaps\" is no value for it");
  EXPECT_EQ(ParseFlags({"--config"}).status().message(), "--config needs a value");
  EXPECT_EQ(ParseFlags({"--config", "--dry_run"}).status().message(), "--config needs a value");
  EXPECT_FALSE(ParseFlags({"--noconfig"}).ok());
}

TEST(ParseFlags, Help) {
  EXPECT_TRUE(ParseFlags({"--help"})->help);
  EXPECT_NE(HelpText().find("--set\n      path=value"), std::string::npos);
}

}  // namespace
}  // namespace lowbit
