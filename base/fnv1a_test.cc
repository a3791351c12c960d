#include "base/fnv1a.h"

#include <string>

#include "gtest/gtest.h"

namespace lowbit {
namespace {

// The authors' own test vectors.
TEST(Fnv1aTest, KnownHashes) {
  EXPECT_EQ(Fnv1a(kFnv1aStart, ""), 0xcbf29ce484222325u);
  EXPECT_EQ(Fnv1a(kFnv1aStart, "a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(Fnv1a(kFnv1aStart, "foobar"), 0x85944171f73967e8u);
}

TEST(Fnv1aTest, ATextIsItsBytes) {
  EXPECT_EQ(Fnv1a(Fnv1a(kFnv1aStart, "foo"), "bar"), Fnv1a(kFnv1aStart, "foobar"));
  EXPECT_EQ(Fnv1a(kFnv1aStart, std::string("\xff")), Fnv1a(kFnv1aStart, uint64_t{255})) << "no sign";
  EXPECT_NE(Fnv1a(kFnv1aStart, std::string("a\0b", 3)), Fnv1a(kFnv1aStart, std::string("a")));
}

}  // namespace
}  // namespace lowbit
