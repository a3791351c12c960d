#include "base/scratch_memory.h"

#include <cstring>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string Folder(const char* name) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/scratch_memory_test_", name);
  std::filesystem::create_directories(folder);
  return folder;
}

TEST(ScratchMemoryTest, HoldsWhatIsWrittenAndLeavesNoName) {
  constexpr int64_t kSize = (1 << 20) + 5;
  const std::string folder = Folder("holds");
  const auto a = ScratchMemory::Create(folder, kSize), b = ScratchMemory::Create(folder, kSize);
  ASSERT_TRUE(a.ok()) << a.status();
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ((*a)->size(), kSize);
  EXPECT_EQ(std::string(static_cast<const char*>((*a)->data()), kSize), std::string(kSize, '\0'));
  std::memset((*a)->data(), 'a', kSize);
  std::memset((*b)->data(), 'b', kSize);
  EXPECT_EQ(std::string(static_cast<const char*>((*a)->data()), kSize), std::string(kSize, 'a'));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST(ScratchMemoryTest, AFolderThatIsNotThere) {
  const absl::Status status = ScratchMemory::Create("/no/such/folder", 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("\"/no/such/folder\""), HasSubstr("No such file")));
}

TEST(ScratchMemoryTest, MoreThanTheDiskHasIsRefusedAtOnce) {
  const std::string folder = Folder("full");
  const absl::Status status = ScratchMemory::Create(folder, int64_t{1} << 60).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("1099511627776.0 MiB"));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

}  // namespace
}  // namespace lowbit
