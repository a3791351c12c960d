#include "artifact/zip_archive.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "artifact/little_endian.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace internal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string ZipOf(const std::vector<ZipInput>& entries) {
  const absl::StatusOr<ZipPieces> zip = LayOutZip(entries);
  EXPECT_TRUE(zip.ok()) << zip.status();
  return absl::StrJoin(zip->pieces, "");
}

std::string ErrorOf(const std::string& bytes) {
  const absl::StatusOr<ZipArchive> zip = ZipArchive::Parse(bytes);
  EXPECT_EQ(zip.status().code(), absl::StatusCode::kInvalidArgument) << zip.status();
  return std::string(zip.status().message());
}

std::string ReadErrorOf(const std::string& bytes, const std::string& entry) {
  const absl::StatusOr<ZipArchive> zip = ZipArchive::Parse(bytes);
  EXPECT_TRUE(zip.ok()) << zip.status();
  const absl::StatusOr<absl::string_view> read = zip->Read(entry);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << read.status();
  return std::string(read.status().message());
}

std::string Little(uint64_t value, int count) {
  std::string bytes;
  AppendLittleEndian(value, count, &bytes);
  return bytes;
}

// Puts `bytes` over what is at `begin`.
std::string Patched(std::string zip, size_t begin, const std::string& bytes) {
  return zip.replace(begin, bytes.size(), bytes);
}

// Where the first record of the directory begins.
size_t DirectoryOf(const std::string& zip) { return zip.find("PK\x01\x02"); }

TEST(ZipArchiveTest, RoundTrip) {
  const std::string zip = ZipOf({{"a/x", "1234"}, {"a/empty", ""}, {"größe", std::string(1000, 'z')}});
  const absl::StatusOr<ZipArchive> archive = ZipArchive::Parse(zip);
  ASSERT_TRUE(archive.ok()) << archive.status();
  EXPECT_THAT(archive->names(), ElementsAre("a/x", "a/empty", "größe"));
  EXPECT_EQ(*archive->Read("a/x"), "1234");
  EXPECT_EQ(*archive->Read("a/empty"), "");
  EXPECT_EQ(*archive->Read("größe"), std::string(1000, 'z'));
  EXPECT_TRUE(archive->Has("a/x"));
  EXPECT_FALSE(archive->Has("a"));
  EXPECT_EQ(archive->Read("a").status().message(), "entry \"a\" is missing");
}

TEST(ZipArchiveTest, NoEntries) {
  const std::string zip = ZipOf({});
  EXPECT_EQ(zip.size(), 22u);
  EXPECT_THAT(ZipArchive::Parse(zip)->names(), ElementsAre());
}

TEST(ZipArchiveTest, LayoutIsTheDocumentedOne) {
  const std::string zip = ZipOf({{"n", "123456789"}});
  // The CRC-32 of "123456789" is 0xcbf43926 in every text on the subject.
  const std::string common = Little(10, 2) + Little(0x800, 2) + Little(0, 2) + Little(0, 2) + Little(0x21, 2) +
                             Little(0xcbf43926, 4) + Little(9, 4) + Little(9, 4) + Little(1, 2);
  const std::string local = "PK\x03\x04" + common + Little(33, 2) + "nFB" + Little(29, 2) + std::string(29, 'Z');
  ASSERT_EQ(local.size(), 64u);
  const std::string directory = "PK\x01\x02" + Little(10, 2) + common + Little(0, 2) + std::string(14, '\0') + "n";
  const std::string end = "PK\x05\x06" + Little(0, 4) + Little(1, 2) + Little(1, 2) + Little(directory.size(), 4) +
                          Little(73, 4) + Little(0, 2);
  EXPECT_EQ(zip, local + "123456789" + directory + end);
}

TEST(ZipArchiveTest, BytesBeginAtMultiplesOf64WhateverTheNames) {
  for (size_t length = 1; length < 140; ++length) {
    const std::string zip = ZipOf({{std::string(length, 'n'), "<first>"}, {"second", "<second>"}});
    EXPECT_EQ(zip.find("<first>") % 64, 0u) << length;
    EXPECT_EQ(zip.find("<second>") % 64, 0u) << length;
  }
}

TEST(ZipArchiveTest, CommentAtTheEnd) {
  std::string zip = ZipOf({{"n", "1234"}});
  zip = Patched(zip, zip.size() - 2, Little(5, 2)) + "hello";
  EXPECT_EQ(*ZipArchive::Parse(zip)->Read("n"), "1234");
  EXPECT_THAT(ErrorOf(zip + "!"), HasSubstr("the file was cut off"));
}

// All numbers that can be are in the zip64 records.
TEST(ZipArchiveTest, Zip64) {
  const std::string data = "1234";
  std::string zip = ZipOf({{"n", data}});
  const size_t begin = DirectoryOf(zip);
  const std::string zip64_field = Little(1, 2) + Little(24, 2) + Little(4, 8) + Little(4, 8) + Little(0, 8);
  std::string record = zip.substr(begin, 47);
  record = Patched(record, 20, Little(0xffffffff, 4) + Little(0xffffffff, 4));
  record = Patched(record, 30, Little(zip64_field.size(), 2));
  record = Patched(record, 42, Little(0xffffffff, 4));
  record += zip64_field;
  const auto finish = [&](const std::string& directory) {
    std::string out = zip.substr(0, begin) + directory;
    const size_t zip64_end = out.size();
    out += "PK\x06\x06" + Little(44, 8) + Little(45, 2) + Little(45, 2) + Little(0, 8) + Little(1, 8) + Little(1, 8) +
           Little(directory.size(), 8) + Little(begin, 8);
    out += "PK\x06\x07" + Little(0, 4) + Little(zip64_end, 8) + Little(1, 4);
    return out + "PK\x05\x06" + Little(0, 4) + std::string(12, '\xff') + Little(0, 2);
  };
  const std::string good = finish(record);
  const absl::StatusOr<ZipArchive> archive = ZipArchive::Parse(good);
  ASSERT_TRUE(archive.ok()) << archive.status();
  EXPECT_EQ(*archive->Read("n"), data);

  EXPECT_EQ(ErrorOf(finish(Patched(record, 47 + 2, Little(20, 2)))), "entry \"n\": its zip64 field is too short");
  EXPECT_EQ(ErrorOf(finish(Patched(record, 47 + 12, std::string(8, '\xff')))),
            "entry \"n\": its 18446744073709551615 bytes from byte 64 on run into the directory at byte 68");
  EXPECT_EQ(ErrorOf(Patched(good, good.size() - 22 - 12, Little(7, 8))),
            "the zip file's end says that byte 7 begins a zip64 end record, which it does not");
}

// ---- what is broken ----

TEST(ZipArchiveTest, EveryCutIsNoticed) {
  const std::string zip = ZipOf({{"a", "1234"}, {"b", "5678"}});
  for (size_t size = 0; size < zip.size(); ++size) {
    EXPECT_EQ(ErrorOf(zip.substr(0, size)),
              absl::StrCat("the file was cut off: it begins as a zip file, but none of its ", size,
                           " bytes are a zip file's end record"));
  }
}

TEST(ZipArchiveTest, ChangedBytes) {
  const std::string zip = ZipOf({{"n", "1234"}});
  const std::string changed = Patched(zip, zip.find("1234"), "12!4");
  EXPECT_EQ(ReadErrorOf(changed, "n"),
            "entry \"n\" is damaged: its CRC-32 is e3179070, and was 9be3e0a3 when it was written");
}

TEST(ZipArchiveTest, CompressedAndEncryptedEntriesAreRefusedWhenRead) {
  const std::string zip = ZipOf({{"n", "1234"}});
  const size_t record = DirectoryOf(zip);
  EXPECT_EQ(ReadErrorOf(Patched(zip, record + 10, Little(8, 2)), "n"),
            "entry \"n\" is compressed (method 8, deflate), which torch.save never does: unpack the file, and pack it "
            "again with `zip -0 -r`");
  EXPECT_THAT(ReadErrorOf(Patched(zip, record + 10, Little(14, 2)), "n"), HasSubstr("is compressed (method 14)"));
  EXPECT_EQ(ReadErrorOf(Patched(zip, record + 8, Little(1, 2)), "n"), "entry \"n\" is encrypted");
}

TEST(ZipArchiveTest, Contradictions) {
  const std::string zip = ZipOf({{"n", "1234"}});
  const size_t record = DirectoryOf(zip), end = zip.size() - 22;
  EXPECT_EQ(ErrorOf(ZipOf({{"n", "1"}, {"n", "2"}})), "entry \"n\" occurs twice");
  EXPECT_EQ(ErrorOf(Patched(zip, record, "XXXX")), "the zip file's directory is damaged at entry 0");
  EXPECT_EQ(ErrorOf(Patched(zip, record + 28, Little(60000, 2))), "the zip file's directory is damaged at entry 0");
  EXPECT_EQ(ErrorOf(Patched(zip, end + 10, Little(2, 2))), "the zip file's directory is damaged at entry 1");
  EXPECT_EQ(ErrorOf(Patched(zip, end + 10, Little(0, 2))),
            "the zip file's directory has 47 bytes, and its 0 entries take 0");
  EXPECT_EQ(
      ErrorOf(Patched(zip, end + 12, Little(9000, 4))),
      absl::StrCat("the zip file's directory should be 9000 bytes from byte 68 on, but the end is at byte ", end));
  EXPECT_EQ(ErrorOf(Patched(zip, record + 42, Little(1, 4))),
            "entry \"n\": its header should be at byte 1, and is not");
  EXPECT_EQ(ErrorOf(Patched(zip, record + 42, Little(0xfffffff0, 4))),
            "entry \"n\": its header should be at byte 4294967280, and is not");
  EXPECT_EQ(ErrorOf(Patched(zip, 30, "m")), "entry \"n\": its header, at byte 0, has another name");
  EXPECT_EQ(ErrorOf(Patched(zip, record + 20, Little(5, 4) + Little(5, 4))),
            "entry \"n\": its 5 bytes from byte 64 on run into the directory at byte 68");
  EXPECT_EQ(ErrorOf(Patched(zip, record + 24, Little(40, 4))),
            "entry \"n\": it is stored in 4 bytes and said to have 40");
}

TEST(ZipArchiveTest, RefusesToWriteWhatTakesZip64) {
  EXPECT_EQ(LayOutZip(std::vector<ZipInput>(65535)).status(),
            absl::InvalidArgumentError("a zip file of 65535 entries: the limit is 65534"));
}

}  // namespace
}  // namespace internal
}  // namespace lowbit
