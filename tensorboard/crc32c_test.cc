#include "tensorboard/crc32c.h"

#include <string>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

// RFC 3720, appendix B.4. It lists the checks' bytes in the order in which they are sent, the lowest first.
TEST(Crc32c, ExamplesOfRfc3720) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  std::string up, down;
  for (int i = 0; i < 32; ++i) {
    up += static_cast<char>(i);
    down += static_cast<char>(31 - i);
  }
  EXPECT_EQ(Crc32c(up), 0x46dd794eu);
  EXPECT_EQ(Crc32c(down), 0x113fdb5cu);
  const unsigned char read_command[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                                          0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                                          0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
  EXPECT_EQ(Crc32c({reinterpret_cast<const char*>(read_command), 48}), 0xd9963a56u);
}

// The check value that catalogues of CRCs give.
TEST(Crc32c, Digits) { EXPECT_EQ(Crc32c("123456789"), 0xe3069283u); }

TEST(Crc32c, Nothing) { EXPECT_EQ(Crc32c(""), 0u); }

}  // namespace
}  // namespace lowbit
