#include "base/folder_lock.h"

#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

std::string Folder() { return *CreateUniqueDir(testing::TempDir() + "/folder_lock"); }

TEST(FolderLockTest, OneHolderAtATime) {
  const std::string folder = Folder();
  auto first = FolderLock::Acquire(folder);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(FolderLock::Acquire(folder).status(),
            absl::FailedPreconditionError(absl::StrCat("\"", folder, "\" is in use by another process")));
  first->reset();
  EXPECT_TRUE(FolderLock::Acquire(folder).ok());
}

TEST(FolderLockTest, AnotherProcessIsKeptOutUntilTheHolderDies) {
  const std::string folder = Folder();
  int ready[2], done[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(done), 0);
  const pid_t child = fork();
  char byte = 0;
  if (child == 0) {
    const auto lock = FolderLock::Acquire(folder);
    byte = lock.ok() ? 'y' : 'n';
    _exit(write(ready[1], &byte, 1) == 1 && read(done[0], &byte, 1) == 1 ? 0 : 1);
  }
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
  EXPECT_FALSE(FolderLock::Acquire(folder).ok());
  ASSERT_EQ(write(done[1], &byte, 1), 1);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(FolderLock::Acquire(folder).ok());
}

TEST(FolderLockTest, AFolderThatIsNoneIsNamed) {
  EXPECT_EQ(FolderLock::Acquire("/no/such/folder").status(),
            absl::NotFoundError("cannot open the folder \"/no/such/folder\": No such file or directory"));
}

}  // namespace
}  // namespace lowbit
