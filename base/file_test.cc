#include "base/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

// Each test has an empty folder of its own.
class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              absl::StrCat(testing::UnitTest::GetInstance()->current_test_info()->name(), "-", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  void Put(const std::string& name, const std::string& contents) const { std::ofstream(folder_ / name) << contents; }

  std::string Get(const std::string& name) const {
    std::ifstream file(folder_ / name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.insert(entry.path().filename().string());
    return names;
  }

  fs::path folder_;
};

using testing::ElementsAre;

// ---- ReadFile ----

TEST_F(FileTest, ReadsEveryByte) {
  std::string contents;
  for (int i = 0; i < 300000; ++i) contents += static_cast<char>(i * 7 + i / 256);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{65535}, size_t{65536}, size_t{65537}, contents.size()}) {
    Put("a", contents.substr(0, size));
    const absl::StatusOr<std::string> read = ReadFile(Path("a"));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, contents.substr(0, size));
  }
}

TEST_F(FileTest, MapsEveryByte) {
  const std::string contents = std::string(70000, 'x') + "end";
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}, contents.size()}) {
    Put("a", contents.substr(0, size));
    const auto mapped = MappedFile::Open(Path("a"));
    ASSERT_TRUE(mapped.ok()) << mapped.status();
    EXPECT_EQ((*mapped)->bytes(), contents.substr(0, size));
  }
}

TEST_F(FileTest, MapsNothingButFiles) {
  EXPECT_EQ(MappedFile::Open(Path("none")).status(),
            absl::NotFoundError(absl::StrCat("cannot read \"", Path("none"), "\": No such file or directory")));
  EXPECT_EQ(MappedFile::Open(Path("")).status(),
            absl::InvalidArgumentError(absl::StrCat("cannot read \"", Path(""), "\": Is a directory")));
  EXPECT_EQ(MappedFile::Open("/dev/null").status(),
            absl::InvalidArgumentError("cannot read \"/dev/null\": not a regular file"));
}

TEST_F(FileTest, ReadsAPipeAndFilesWithoutSize) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  const std::string contents(200000, 'x');
  std::thread writer([&] { Put("pipe", contents); });
  const absl::StatusOr<std::string> read = ReadFile(Path("pipe"));
  writer.join();
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, contents);

  const absl::StatusOr<std::string> status = ReadFile("/proc/self/status");  // its size is 0
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_THAT(*status, testing::HasSubstr("Pid:"));
}

TEST_F(FileTest, ReadErrorsNameThePathAndTheReason) {
  EXPECT_EQ(ReadFile(Path("none")).status(),
            absl::NotFoundError(absl::StrCat("cannot read \"", Path("none"), "\": No such file or directory")));
  EXPECT_EQ(ReadFile(folder_.string()).status(),
            absl::InvalidArgumentError(absl::StrCat("cannot read \"", folder_.string(), "\": Is a directory")));
  Put("file", "");
  EXPECT_EQ(ReadFile(Path("file/x")).status(),
            absl::NotFoundError(absl::StrCat("cannot read \"", Path("file/x"), "\": Not a directory")));
  EXPECT_EQ(ReadFile("/dev/zero").status(),
            absl::InvalidArgumentError("cannot read \"/dev/zero\": not a regular file"));
  EXPECT_EQ(ReadFile("").status().message(), "cannot read \"\": No such file or directory");
}

// ---- AtomicFile ----

TEST_F(FileTest, WritesAndReplaces) {
  ASSERT_TRUE(WriteFileAtomic(Path("a"), "first, which is longer").ok());
  EXPECT_EQ(Get("a"), "first, which is longer");
  ASSERT_TRUE(WriteFileAtomic(Path("a"), {"sec", "", "ond"}).ok());
  EXPECT_EQ(Get("a"), "second");
  ASSERT_TRUE(WriteFileAtomic(Path("a"), "").ok());
  EXPECT_EQ(Get("a"), "");
  EXPECT_THAT(Names(), ElementsAre("a"));
}

TEST_F(FileTest, WritesIntoTheCurrentFolder) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  const absl::Status status = WriteFileAtomic("a", "contents");
  fs::current_path(before);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Get("a"), "contents");
}

TEST_F(FileTest, NameAppearsOnlyOnCommit) {
  Put("a", "old");
  auto file = AtomicFile::Create(Path("a"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Write("new").ok());
  EXPECT_EQ(Get("a"), "old");
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_EQ(Get("a"), "new");
  EXPECT_THAT(Names(), ElementsAre("a"));
}

TEST_F(FileTest, WithoutCommitNothingHappened) {
  Put("a", "old");
  {
    auto file = AtomicFile::Create(Path("a"));
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Write("new").ok());
    EXPECT_EQ(Names().size(), 2u);
  }
  EXPECT_EQ(Get("a"), "old");
  EXPECT_THAT(Names(), ElementsAre("a"));
}

TEST_F(FileTest, TwoWritersOfOneNameDoNotMix) {
  auto first = AtomicFile::Create(Path("a"));
  auto second = AtomicFile::Create(Path("a"));
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_TRUE((*first)->Write("first").ok());
  ASSERT_TRUE((*second)->Write("second").ok());
  ASSERT_TRUE((*first)->Commit().ok());
  EXPECT_EQ(Get("a"), "first");
  ASSERT_TRUE((*second)->Commit().ok());
  EXPECT_EQ(Get("a"), "second");
}

TEST_F(FileTest, ObeysTheUmaskLikeAnyNewFile) {
  const mode_t before = umask(027);
  const absl::Status status = WriteFileAtomic(Path("a"), "x");
  umask(before);
  ASSERT_TRUE(status.ok()) << status;
  struct stat info = {};
  ASSERT_EQ(stat(Path("a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST_F(FileTest, TakesTheLongestName) {
  const std::string name(255, 'n');
  const absl::Status status = WriteFileAtomic(Path(name), "x");
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(Names(), ElementsAre(name));
  EXPECT_EQ(WriteFileAtomic(Path(name + "n"), "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Names(), ElementsAre(name));
}

TEST_F(FileTest, FollowsLinks) {
  fs::create_directory(folder_ / "store");
  Put("store/a", "old");
  fs::create_symlink("store/a", folder_ / "link");
  fs::create_symlink(folder_ / "link", folder_ / "link_to_link");
  ASSERT_TRUE(WriteFileAtomic(Path("link_to_link"), "new").ok());
  EXPECT_EQ(Get("store/a"), "new");
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_TRUE(fs::is_symlink(folder_ / "link_to_link"));

  fs::create_symlink("store/b", folder_ / "dangling");
  ASSERT_TRUE(WriteFileAtomic(Path("dangling"), "made").ok());
  EXPECT_EQ(Get("store/b"), "made");

  fs::create_symlink("loop", folder_ / "loop");
  EXPECT_EQ(WriteFileAtomic(Path("loop"), "x").message(),
            absl::StrCat("cannot write \"", Path("loop"), "\": Too many levels of symbolic links"));
}

TEST_F(FileTest, WriteErrorsNameThePathAndTheReason) {
  EXPECT_EQ(WriteFileAtomic(Path("none/a"), "x"),
            absl::NotFoundError(absl::StrCat("cannot write \"", Path("none/a"), "\": No such file or directory")));
  EXPECT_EQ(WriteFileAtomic(folder_.string(), "x"),
            absl::InvalidArgumentError(absl::StrCat("cannot write \"", folder_.string(), "\": Is a directory")));
  EXPECT_EQ(WriteFileAtomic(Path("none/"), "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteFileAtomic("", "x").message(), "cannot write \"\": No such file or directory");
  EXPECT_TRUE(Names().empty());
}

TEST_F(FileTest, DoesNotReplaceADevice) {
  // As root, a rename would put a regular file in its place for everybody.
  EXPECT_EQ(WriteFileAtomic("/dev/null", "x"),
            absl::InvalidArgumentError("cannot write \"/dev/null\": not a regular file"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(WriteFileAtomic(Path("pipe"), "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(fs::is_fifo(folder_ / "pipe"));
}

// A limit on the size of files stands for a full disk: both make write() stop in the middle of a buffer, then fail.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limited = before_;
    limited.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*const handler_)(int);
  rlimit before_;
};

TEST_F(FileTest, FullDiskLosesNothing) {
  Put("a", "old");
  absl::Status status;
  {
    FileSizeLimit limit(10000);
    status = WriteFileAtomic(Path("a"), {std::string(6000, 'x'), std::string(6000, 'y')});
  }
  EXPECT_EQ(status, absl::ResourceExhaustedError(absl::StrCat("cannot write \"", Path("a"), "\": File too large")));
  EXPECT_EQ(Get("a"), "old");
  EXPECT_THAT(Names(), ElementsAre("a"));
}

TEST_F(FileTest, AfterAnErrorTheFileIsGivenUp) {
  auto file = AtomicFile::Create(Path("a"));
  ASSERT_TRUE(file.ok()) << file.status();
  absl::Status first;
  {
    FileSizeLimit limit(100);
    first = (*file)->Write(std::string(101, 'x'));
  }
  EXPECT_EQ(first.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Names().empty()) << "the temporary file is gone at once";
  EXPECT_EQ((*file)->Write("x"), first);
  EXPECT_EQ((*file)->Commit(), first);
  EXPECT_TRUE(Names().empty());
}

TEST_F(FileTest, FailedRenameLosesNothing) {
  auto file = AtomicFile::Create(Path("a"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Write("x").ok());
  fs::create_directories(folder_ / "a" / "b");  // a folder has taken the name meanwhile
  EXPECT_EQ((*file)->Commit().message(), absl::StrCat("cannot write \"", Path("a"), "\": Is a directory"));
  EXPECT_THAT(Names(), ElementsAre("a"));
}

TEST_F(FileTest, StepsOverWhatAKilledProcessLeft) {
  // The next numbers of this process' temporary files, as far as they may have been counted by now.
  for (int i = 0; i < 200; ++i) Put(absl::StrCat(".lowbit-", getpid(), "-", i, ".tmp"), "left");
  ASSERT_TRUE(WriteFileAtomic(Path("a"), "x").ok());
  EXPECT_EQ(Get("a"), "x");
  EXPECT_EQ(Get(absl::StrCat(".lowbit-", getpid(), "-199.tmp")), "left");
}

TEST_F(FileTest, KilledWriterLeavesTheOldFile) {
  Put("a", "old");
  EXPECT_EXIT(
      {
        auto file = AtomicFile::Create(Path("a"));
        if (file.ok() && (*file)->Write("half").ok()) std::raise(SIGKILL);
      },
      testing::KilledBySignal(SIGKILL), "");
  EXPECT_EQ(Get("a"), "old");
}

TEST_F(FileTest, OnlyTheDeadsTemporariesAreStale) {
  // A process that has ended, and whose number is thus free.
  const pid_t dead = fork();
  if (dead == 0) _exit(0);
  ASSERT_EQ(waitpid(dead, nullptr, 0), dead);
  const std::string stale = absl::StrCat(".lowbit-", dead, "-0.tmp"),
                    ours = absl::StrCat(".lowbit-", getpid(), "-77.tmp");
  for (const std::string& name : {stale, ours, std::string(".lowbit-x-0.tmp"), std::string("a")}) Put(name, "x");
  const absl::Status status = RemoveStaleTemporaries(Path("."));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(fs::exists(Path(stale)));
  for (const std::string& name : {ours, std::string(".lowbit-x-0.tmp"), std::string("a")}) {
    EXPECT_TRUE(fs::exists(Path(name))) << name;
  }
  EXPECT_EQ(std::string(RemoveStaleTemporaries(Path("none")).message()),
            absl::StrCat("cannot read the folder \"", Path("none"), "\": No such file or directory"));
}

// ---- folders ----

TEST_F(FileTest, MakeDirs) {
  for (const char* path : {"a/b/c", "a/b/c", "a/b/d/", "."}) {
    const absl::Status status = MakeDirs(Path(path));
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(fs::is_directory(Path(path)));
  }
  Put("file", "");
  for (const char* path : {"file", "file/x"}) {
    EXPECT_EQ(MakeDirs(Path(path)),
              absl::NotFoundError(absl::StrCat("cannot make the folder \"", Path(path), "\": Not a directory")));
  }
}

TEST_F(FileTest, CreateUniqueDirCountsUp) {
  EXPECT_EQ(*CreateUniqueDir(Path("out/run")), Path("out/run"));
  EXPECT_EQ(*CreateUniqueDir(Path("out/run")), Path("out/run-2"));
  Put("out/run-3", "a file has the name");
  EXPECT_EQ(*CreateUniqueDir(Path("out/run")), Path("out/run-4"));
  EXPECT_TRUE(fs::is_directory(Path("out/run-4")));
  Put("file", "");
  EXPECT_EQ(CreateUniqueDir(Path("file/run")).status().message(),
            absl::StrCat("cannot make the folder \"", Path("file"), "\": Not a directory"));
}

TEST_F(FileTest, CreateUniqueDirNeverGivesOneTwice) {
  std::vector<std::string> paths(8);
  std::vector<std::thread> threads;
  for (std::string& path : paths) threads.emplace_back([&] { path = *CreateUniqueDir(Path("run")); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(paths.begin(), paths.end()).size(), 8u);
}

// ---- RecordFile ----

TEST_F(FileTest, RecordsAreThereAtOnce) {
  const auto file = RecordFile::Create(Path("records"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Append("one").ok());
  EXPECT_EQ(Get("records"), "one");
  ASSERT_TRUE((*file)->Append("").ok());
  ASSERT_TRUE((*file)->Append("two").ok());
  EXPECT_EQ(Get("records"), "onetwo");
}

TEST_F(FileTest, ARecordFileReplacesNothing) {
  Put("taken", "old");
  EXPECT_EQ(RecordFile::Create(Path("taken")).status(),
            absl::AlreadyExistsError(absl::StrCat("cannot write \"", Path("taken"), "\": File exists")));
  EXPECT_EQ(Get("taken"), "old");
  EXPECT_EQ(RecordFile::Create(Path("no/folder")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileTest, ARecordThatDoesNotFitIsTakenBack) {
  const auto file = RecordFile::Create(Path("records"));
  ASSERT_TRUE(file.ok() && (*file)->Append("first").ok());
  {
    FileSizeLimit limit(100);
    EXPECT_EQ((*file)->Append(std::string(200, 'x')),
              absl::ResourceExhaustedError(absl::StrCat("cannot write \"", Path("records"), "\": File too large")));
  }
  EXPECT_EQ(Get("records"), "first");
  ASSERT_TRUE((*file)->Append("second").ok());
  EXPECT_EQ(Get("records"), "firstsecond");
}

}  // namespace
}  // namespace lowbit
