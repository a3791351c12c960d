#include "tensorboard/record.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

std::string Error(absl::string_view bytes) { return std::string(ParseRecords(bytes).status().message()); }

// The checks were made with Debian's python3-crc32c:
//   mask = lambda c: (((c >> 15) | (c << 17)) + 0xa282ead8) & 0xffffffff
TEST(Record, Bytes) {
  EXPECT_EQ(FrameRecord("abc"), std::string("\x03\0\0\0\0\0\0\0"
                                            "\xb0\x99\x49\x0e"
                                            "abc"
                                            "\x6e\x57\xf1\x21",
                                            19));
}

TEST(Record, ComesBack) {
  const std::string data("\0\xff\n", 3);
  const auto records = ParseRecords(FrameRecord("") + FrameRecord(data) + FrameRecord(std::string(1000, 'x')));
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_THAT(*records, ElementsAre("", data, std::string(1000, 'x')));
  EXPECT_THAT(*ParseRecords(""), ElementsAre());
}

TEST(Record, EveryCutIsNoticed) {
  const std::string bytes = FrameRecord("first") + FrameRecord("second");
  const size_t first = FrameRecord("first").size();
  for (size_t size = 1; size < bytes.size(); ++size) {
    if (size == first) continue;
    EXPECT_EQ(Error(bytes.substr(0, size)),
              size < first ? "a record is cut off at byte 0" : "a record is cut off at byte 21")
        << size;
  }
}

TEST(Record, EveryChangedBitIsNoticed) {
  const std::string bytes = FrameRecord("abc");
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      EXPECT_EQ(Error(changed), i < 12 ? "the check of a record's size is wrong at byte 0"
                                       : "the check of a record's data is wrong at byte 0");
    }
  }
}

}  // namespace
}  // namespace lowbit
