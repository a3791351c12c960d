#include "artifact/safetensors.h"

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

std::string LittleEndian(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

// A file with this header, as it stands, and this data.
std::string FileOf(const std::string& header, const std::string& data = "") {
  return LittleEndian(header.size()) + header + data;
}

std::string ErrorOf(const std::string& bytes) {
  const absl::StatusOr<SafetensorsFile> file = ParseSafetensors(bytes, "x.st");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << file.status();
  return std::string(file.status().message());
}

// The error for one tensor "t" with these fields.
std::string TensorErrorOf(const std::string& fields, const std::string& data = "") {
  const std::string message = ErrorOf(FileOf("{\"t\":{" + fields + "}}", data));
  const std::string start = "x.st: tensor \"t\": ";
  EXPECT_EQ(message.substr(0, start.size()), start);
  return message.substr(std::min(start.size(), message.size()));
}

// Several types, a scalar, an empty tensor, names and metadata that need escapes.
SafetensorsFile Sample() {
  SafetensorsFile file;
  file.tensors["conv1.weight"] = {
      DType::kF32, {2, 1, 2}, std::string("\x00\x00\x80\x3f\x00\x00\x00\x40", 8) + "abcdefgh"};
  file.tensors["conv1.codes"] = {DType::kU8, {3}, "\x01\xfe\x7f"};
  file.tensors["a \"quoted\"\n\\name"] = {DType::kI16, {1}, "xy"};
  file.tensors["größe"] = {DType::kF64, {}, "12345678"};
  file.tensors["empty"] = {DType::kBF16, {0, 7}, ""};
  file.metadata["lowbit.network"] = "layers {\n  name: \"input\"\n}\n";
  file.metadata["tab\t"] = "";
  return file;
}

// ---- round trip and layout ----

TEST(SafetensorsTest, RoundTrip) {
  const absl::StatusOr<std::string> bytes = SerializeSafetensors(Sample());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const absl::StatusOr<SafetensorsFile> read = ParseSafetensors(*bytes, "x.st");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->tensors, Sample().tensors);
  EXPECT_EQ(read->metadata, Sample().metadata);
  EXPECT_EQ(*SerializeSafetensors(*read), *bytes);
}

TEST(SafetensorsTest, LayoutIsTheDocumentedOne) {
  SafetensorsFile file;
  file.tensors["b"] = {DType::kF32, {1}, "bbbb"};
  file.tensors["a"] = {DType::kU8, {3}, "aaa"};
  file.tensors["c"] = {DType::kI64, {1, 1}, "cccccccc"};
  file.tensors["d"] = {DType::kI32, {}, "dddd"};
  file.metadata["k"] = "v";
  const std::string header =
      "{\"__metadata__\":{\"k\":\"v\"},"
      "\"c\":{\"dtype\":\"I64\",\"shape\":[1,1],\"data_offsets\":[0,8]},"
      "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]},"
      "\"d\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[12,16]},"
      "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[16,19]}}";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  EXPECT_EQ(*SerializeSafetensors(file), FileOf(header + padding, "ccccccccbbbbddddaaa"));
}

TEST(SafetensorsTest, DataBeginsAtAMultipleOfEightWhateverTheNames) {
  for (size_t length = 1; length <= 17; ++length) {
    SafetensorsFile file;
    file.tensors[std::string(length, 'n')] = {DType::kU8, {4}, "data"};
    const std::string bytes = *SerializeSafetensors(file);
    EXPECT_EQ((bytes.size() - 4) % 8, 0u);
    EXPECT_EQ(bytes.substr(bytes.size() - 4), "data");
    EXPECT_EQ(*ParseSafetensors(bytes, "x.st"), file);
  }
}

TEST(SafetensorsTest, EmptyFile) {
  EXPECT_EQ(*SerializeSafetensors({}), FileOf("{}      "));
  EXPECT_EQ(*ParseSafetensors(FileOf("{}"), "x.st"), SafetensorsFile());
}

// The example in the reference library's own documentation.
TEST(SafetensorsTest, ReadsTheReferenceExample) {
  const std::string bytes =
      FileOf("{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", std::string(16, '\0'));
  EXPECT_EQ(bytes[0], '<');
  const absl::StatusOr<SafetensorsFile> file = ParseSafetensors(bytes, "x.st");
  ASSERT_TRUE(file.ok()) << file.status();
  SafetensorsFile expected;
  expected.tensors["test"] = {DType::kI32, {2, 2}, std::string(16, '\0')};
  EXPECT_EQ(*file, expected);
}

TEST(SafetensorsTest, ReadsOtherOrdersAndSpacing) {
  const std::string header =
      "{ \"z\" : {\"data_offsets\":[0, 3],\n\"shape\":[3], \"dtype\":\"I8\"},\r\n\t"
      "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[3,7]},"
      "\"\\u0061\":{\"dtype\":\"BOOL\",\"shape\":[2,0],\"data_offsets\":[3,3]},"
      "\"__metadata__\":{\"\\ud83d\\ude00\":\"\\u0000\"} }   ";
  const absl::StatusOr<SafetensorsFile> file = ParseSafetensors(FileOf(header, "zzzyyyy"), "x.st");
  ASSERT_TRUE(file.ok()) << file.status();
  SafetensorsFile expected;
  expected.tensors["z"] = {DType::kI8, {3}, "zzz"};
  expected.tensors["y"] = {DType::kF32, {1}, "yyyy"};
  expected.tensors["a"] = {DType::kBool, {2, 0}, ""};
  expected.metadata["😀"] = std::string(1, '\0');
  EXPECT_EQ(*file, expected);
}

TEST(SafetensorsTest, KnowsEveryElementType) {
  const std::map<std::string, int> bits = {
      {"F64", 64},    {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},    {"I32", 32}, {"I16", 16},
      {"I8", 8},      {"U64", 64},    {"U32", 32},    {"U16", 16},    {"U8", 8},      {"BOOL", 8}, {"C64", 64},
      {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4}};
  for (const auto& [name, width] : bits) {
    const std::string header =
        absl::StrCat("{\"t\":{\"dtype\":\"", name, "\",\"shape\":[4],\"data_offsets\":[0,", width / 2, "]}}");
    const absl::StatusOr<SafetensorsFile> file = ParseSafetensors(FileOf(header, std::string(width / 2, 'x')), "x.st");
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(DTypeName(file->tensors.at("t").dtype), name);
    EXPECT_EQ(DTypeBits(file->tensors.at("t").dtype), width);
    EXPECT_EQ(*ParseSafetensors(*SerializeSafetensors(*file), "x.st"), *file);
  }
}

// ---- what is broken ----

TEST(SafetensorsTest, HeaderLength) {
  EXPECT_EQ(ErrorOf(""), "x.st: the file was cut off: it has 0 bytes, and the header's length takes 8");
  EXPECT_EQ(ErrorOf("1234567"), "x.st: the file was cut off: it has 7 bytes, and the header's length takes 8");
  EXPECT_EQ(ErrorOf(LittleEndian(3) + "{}"),
            "x.st: the file was cut off: the header ends at byte 11, the file at byte 10");
  EXPECT_EQ(ErrorOf(LittleEndian(100'000'001)),
            "x.st: not a safetensors file: the header's length would be 100000001 bytes, and the limit is 100000000");
  EXPECT_EQ(ErrorOf(LittleEndian(100'000'000)),
            "x.st: the file was cut off: the header ends at byte 100000008, the file at byte 8");
  EXPECT_THAT(ErrorOf(LittleEndian(~uint64_t{0}) + "{}"), HasSubstr("would be 18446744073709551615 bytes"));
  EXPECT_THAT(ErrorOf("PK\x03\x04 a zip file, as torch.save() writes it"), HasSubstr("not a safetensors file"));
}

TEST(SafetensorsTest, HeaderThatIsNotJson) {
  EXPECT_EQ(ErrorOf(FileOf("")), "x.st: the header must begin with \"{\", got nothing");
  EXPECT_EQ(ErrorOf(FileOf(" {}")), "x.st: the header must begin with \"{\", got \" {}\"");
  EXPECT_EQ(ErrorOf(FileOf("\xEF\xBB\xBF{}")), "x.st: the header must begin with \"{\", got \"\\xef\\xbb\\xbf{}\"");
  EXPECT_THAT(ErrorOf(FileOf("{")), HasSubstr("x.st: the header is not valid JSON: parse error at line 1, column 2"));
  for (const std::string header : {"{}}", "{} {}", "{\"a\"}", "{\"a\":}", "{,}", "{\"a\xff\":1}", "{\"\n\":1}"}) {
    EXPECT_THAT(ErrorOf(FileOf(header)), HasSubstr("the header is not valid JSON"));
  }
  EXPECT_LT(ErrorOf(FileOf("{" + std::string(100000, 'x'))).size(), 300u) << "no message as long as the file";
}

TEST(SafetensorsTest, DuplicateKeys) {
  const std::string tensor = "\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
  EXPECT_EQ(ErrorOf(FileOf("{" + tensor + "," + tensor + "}")), "x.st: tensor \"t\" occurs twice");
  EXPECT_EQ(ErrorOf(FileOf("{" + tensor + "," + absl::StrReplaceAll(tensor, {{"\"t\"", "\"\\u0074\""}}) + "}")),
            "x.st: tensor \"t\" occurs twice");
  EXPECT_EQ(ErrorOf(FileOf("{\"__metadata__\":{},\"__metadata__\":{}}")), "x.st: __metadata__ occurs twice");
  EXPECT_EQ(ErrorOf(FileOf("{\"__metadata__\":{\"k\":\"1\",\"k\":\"1\"}}")),
            "x.st: key \"k\" of the metadata occurs twice");
  EXPECT_EQ(TensorErrorOf("\"shape\":[],\"shape\":[]"), "shape occurs twice");
  EXPECT_EQ(TensorErrorOf("\"dtype\":\"U8\",\"dtype\":\"U8\""), "dtype occurs twice");
}

TEST(SafetensorsTest, ValuesOfTheWrongKind) {
  EXPECT_EQ(ErrorOf(FileOf("{\"__metadata__\":3}")), "x.st: __metadata__: must be an object of strings, got 3");
  EXPECT_EQ(ErrorOf(FileOf("{\"__metadata__\":{\"k\":1.5}}")), "x.st: __metadata__: \"k\" must be a string, got 1.5");
  EXPECT_EQ(ErrorOf(FileOf("{\"__metadata__\":{\"k\":{}}}")),
            "x.st: __metadata__: \"k\" must be a string, got an object");
  EXPECT_EQ(ErrorOf(FileOf("{\"t\":[]}")), "x.st: tensor \"t\": must be an object, got an array");
  EXPECT_EQ(ErrorOf(FileOf("{\"t\":null}")), "x.st: tensor \"t\": must be an object, got null");
  EXPECT_EQ(TensorErrorOf("\"dtype\":32"), "dtype must be a string, got 32");
  EXPECT_EQ(TensorErrorOf("\"dtype\":\"float32\""), "unknown dtype \"float32\"");
  EXPECT_EQ(TensorErrorOf("\"dtype\":\"\""), "unknown dtype \"\"");
  const std::string shape = "shape must be an array of whole numbers in [0, 2^63 - 1], got ";
  EXPECT_EQ(TensorErrorOf("\"shape\":7"), shape + "7");
  EXPECT_EQ(TensorErrorOf("\"shape\":[-3]"), shape + "-3");
  EXPECT_EQ(TensorErrorOf("\"shape\":[2.0]"), shape + "2.0");
  EXPECT_EQ(TensorErrorOf("\"shape\":[true]"), shape + "true");
  EXPECT_EQ(TensorErrorOf("\"shape\":[[1]]"), shape + "an array");
  EXPECT_EQ(TensorErrorOf("\"shape\":[9223372036854775808]"), shape + "9223372036854775808");
  EXPECT_EQ(TensorErrorOf("\"shape\":[99999999999999999999]"), shape + "99999999999999999999");
  const std::string offsets = "data_offsets must be two whole numbers, got ";
  EXPECT_EQ(TensorErrorOf("\"data_offsets\":{}"), offsets + "an object");
  EXPECT_EQ(TensorErrorOf("\"data_offsets\":[]"), offsets + "none");
  EXPECT_EQ(TensorErrorOf("\"data_offsets\":[0]"), offsets + "one");
  EXPECT_EQ(TensorErrorOf("\"data_offsets\":[0,1,2]"), offsets + "more");
  EXPECT_EQ(TensorErrorOf("\"data_offsets\":[0,-1]"), offsets + "-1");
  EXPECT_EQ(TensorErrorOf("\"data_offsets\":[0,\"1\"]"), offsets + "\"1\"");
}

TEST(SafetensorsTest, MissingAndUnknownFields) {
  EXPECT_EQ(TensorErrorOf("\"shape\":[],\"data_offsets\":[0,4]"), "dtype is missing");
  EXPECT_EQ(TensorErrorOf("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), "shape is missing");
  EXPECT_EQ(TensorErrorOf("\"dtype\":\"F32\",\"shape\":[]"), "data_offsets is missing");
  EXPECT_EQ(TensorErrorOf("\"strides\":[]"), "unknown field \"strides\" (known: data_offsets, dtype, shape)");
  // The second tensor does not inherit what the first one said.
  EXPECT_EQ(ErrorOf(FileOf("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},\"b\":{}}", "1234")),
            "x.st: tensor \"b\": dtype is missing");
}

TEST(SafetensorsTest, DeepNestingIsRefusedAtOnce) {
  EXPECT_THAT(ErrorOf(FileOf("{\"t\":{\"shape\":" + std::string(1'000'000, '['))), HasSubstr("got an array"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_EQ(ErrorOf(FileOf(objects)), "x.st: tensor \"a\": unknown field \"a\" (known: data_offsets, dtype, shape)");
}

TEST(SafetensorsTest, ShapesThatDoNotAgreeWithOffsets) {
  const std::string f32 = "\"dtype\":\"F32\",";
  EXPECT_EQ(TensorErrorOf(f32 + "\"shape\":[2,3],\"data_offsets\":[0,20]", std::string(20, 'x')),
            "shape [2, 3] of F32 takes 24 bytes, but data_offsets [0, 20] hold 20");
  EXPECT_EQ(TensorErrorOf(f32 + "\"shape\":[],\"data_offsets\":[0,0]"),
            "shape [] of F32 takes 4 bytes, but data_offsets [0, 0] hold 0");
  EXPECT_EQ(TensorErrorOf(f32 + "\"shape\":[1],\"data_offsets\":[4,0]", "1234"),
            "data_offsets [4, 0] end before they begin");
  EXPECT_EQ(TensorErrorOf(f32 + "\"shape\":[2],\"data_offsets\":[0,8]", "1234"),
            "ends at byte 8 of the data, of which there are 4: the file was cut off, or its header is wrong");
  EXPECT_THAT(TensorErrorOf(f32 + "\"shape\":[1],\"data_offsets\":[18446744073709551611,18446744073709551615]"),
              HasSubstr("ends at byte 18446744073709551615 of the data, of which there are 0"));
  EXPECT_EQ(TensorErrorOf("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]", "12"),
            "shape [3] of F4 takes 12 bits, which is no whole number of bytes");
}

TEST(SafetensorsTest, ShapesThatOverflow) {
  // 2^32 * 2^32 elements: the product is 0 modulo 2^64, which is what the offsets say.
  EXPECT_EQ(TensorErrorOf("\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"),
            "shape [4294967296, 4294967296] of U8 overflows 64 bits");
  EXPECT_EQ(TensorErrorOf("\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]"),
            "shape [2305843009213693952] of F64 overflows 64 bits");
  EXPECT_EQ(TensorErrorOf("\"dtype\":\"U8\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]"),
            "shape [4294967296, 4294967296, 0] of U8 overflows 64 bits");
}

TEST(SafetensorsTest, GapsAndOverlaps) {
  const auto file = [](int a_begin, int a_end, int b_begin, int b_end, int data) {
    return FileOf(absl::StrCat("{\"a\":{\"dtype\":\"U8\",\"shape\":[", a_end - a_begin, "],\"data_offsets\":[", a_begin,
                               ",", a_end, "]},\"b\":{\"dtype\":\"U8\",\"shape\":[", b_end - b_begin,
                               "],\"data_offsets\":[", b_begin, ",", b_end, "]}}"),
                  std::string(data, 'x'));
  };
  EXPECT_TRUE(ParseSafetensors(file(4, 8, 0, 4, 8), "x.st").ok());
  EXPECT_EQ(ErrorOf(file(0, 4, 3, 7, 7)),
            "x.st: tensor \"a\" and tensor \"b\" overlap: one ends at byte 4 of the data, the other begins at 3");
  EXPECT_THAT(ErrorOf(file(0, 4, 0, 4, 4)), HasSubstr("overlap"));
  EXPECT_THAT(ErrorOf(file(0, 8, 2, 4, 8)), HasSubstr("overlap"));
  EXPECT_EQ(ErrorOf(file(0, 4, 5, 9, 9)), "x.st: bytes 4 to 5 of the data, before tensor \"b\", belong to no tensor");
  EXPECT_EQ(ErrorOf(file(1, 4, 4, 9, 9)), "x.st: bytes 0 to 1 of the data, before tensor \"a\", belong to no tensor");
  EXPECT_EQ(ErrorOf(file(0, 4, 4, 9, 11)), "x.st: 2 bytes after the last tensor belong to no tensor");
  EXPECT_EQ(ErrorOf(FileOf("{}", "x")), "x.st: 1 bytes after the last tensor belong to no tensor");
}

TEST(SafetensorsTest, MessagesEscapeWhatTheFileSays) {
  EXPECT_EQ(ErrorOf(FileOf("{\"\\u001b[2J\":1}")), "x.st: tensor \"\\x1b[2J\": must be an object, got 1");
  EXPECT_THAT(ErrorOf(FileOf("{\"" + std::string(10000, 'n') + "\":1}")),
              HasSubstr("\"" + std::string(200, 'n') + "...\": must be an object"));
}

// ---- damage ----

TEST(SafetensorsTest, EveryCutIsNoticed) {
  const std::string bytes = *SerializeSafetensors(Sample());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const absl::StatusOr<SafetensorsFile> file = ParseSafetensors(bytes.substr(0, size), "x.st");
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << "cut at byte " << size;
  }
  for (const char extra : {'\0', ' ', '}'}) EXPECT_FALSE(ParseSafetensors(bytes + extra, "x.st").ok());
}

// A changed byte may be noticed, or may make another file that is valid; that one we can write and read again.
TEST(SafetensorsTest, ChangedBytesGiveAnErrorOrAValidFile) {
  const std::string bytes = *SerializeSafetensors(Sample());
  int refused = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(value);
      const absl::StatusOr<SafetensorsFile> file = ParseSafetensors(changed, "x.st");
      if (!file.ok()) {
        ++refused;
        EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
        continue;
      }
      const absl::StatusOr<std::string> written = SerializeSafetensors(*file);
      ASSERT_TRUE(written.ok()) << written.status();
      EXPECT_EQ(*ParseSafetensors(*written, "x.st"), *file);
    }
  }
  EXPECT_GT(refused, static_cast<int>(bytes.size()) * 100);
}

TEST(SafetensorsTest, RemovedAndRepeatedStretchesGiveAnErrorOrAValidFile) {
  const std::string bytes = *SerializeSafetensors(Sample());
  for (size_t begin = 0; begin < bytes.size(); begin += 3) {
    for (size_t length = 1; begin + length <= bytes.size(); length = length * 2 + 1) {
      std::string removed = bytes, repeated = bytes;
      removed.erase(begin, length);
      repeated.insert(begin, bytes, begin, length);
      for (const std::string& changed : {removed, repeated}) {
        const absl::StatusOr<SafetensorsFile> file = ParseSafetensors(changed, "x.st");
        EXPECT_TRUE(file.ok() || file.status().code() == absl::StatusCode::kInvalidArgument) << file.status();
      }
    }
  }
}

// ---- writing ----

TEST(SafetensorsTest, RefusesToWriteWhatTheFormatCannotHold) {
  const auto error_of = [](const std::string& name, const TensorBlob& tensor) {
    SafetensorsFile file;
    file.tensors[name] = tensor;
    const absl::StatusOr<std::string> bytes = SerializeSafetensors(file);
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(bytes.status().message());
  };
  EXPECT_EQ(error_of("t", {DType::kF32, {2, 2}, std::string(15, 'x')}),
            "tensor \"t\": shape [2, 2] of F32 takes 16 bytes, got 15");
  EXPECT_EQ(error_of("t", {DType::kF32, {-1, 2}, ""}), "tensor \"t\": shape [-1, 2] has a negative extent");
  EXPECT_EQ(error_of("t", {DType::kI8, {std::numeric_limits<int64_t>::max()}, ""}),
            "tensor \"t\": shape [9223372036854775807] of I8 overflows 64 bits");
  EXPECT_EQ(error_of("__metadata__", {DType::kI8, {}, "x"}), "tensor \"__metadata__\": the format reserves this name");
  EXPECT_EQ(error_of("\xff", {DType::kI8, {}, "x"}), "tensor \"\\xff\": its name is not UTF-8");

  SafetensorsFile file;
  file.metadata["path"] = "caf\xe9";
  EXPECT_EQ(SerializeSafetensors(file).status(), absl::InvalidArgumentError("metadata \"path\" is not UTF-8"));
  file.metadata = {{"\xe9", ""}};
  EXPECT_EQ(SerializeSafetensors(file).status(), absl::InvalidArgumentError("metadata \"\\xe9\" is not UTF-8"));
  file.metadata = {{"big", std::string(100'000'000, 'x')}};
  EXPECT_THAT(std::string(SerializeSafetensors(file).status().message()), HasSubstr("the header would take 1000000"));
}

class SafetensorsFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / absl::StrCat("safetensors_test-", getpid());
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "model.safetensors").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  int FileCount() const {
    const std::filesystem::directory_iterator files(folder_);
    return static_cast<int>(std::distance(begin(files), end(files)));
  }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(SafetensorsFileTest, WritesAndReadsBack) {
  ASSERT_TRUE(WriteSafetensors(path_, Sample()).ok());
  EXPECT_EQ(*ReadSafetensors(path_), Sample());
  EXPECT_EQ(*ReadFile(path_), *SerializeSafetensors(Sample()));
  EXPECT_EQ(FileCount(), 1);
}

TEST_F(SafetensorsFileTest, ErrorsNameTheFile) {
  EXPECT_EQ(ReadSafetensors(path_).status(),
            absl::NotFoundError(absl::StrCat("cannot read \"", path_, "\": No such file or directory")));
  ASSERT_TRUE(WriteFileAtomic(path_, "short").ok());
  EXPECT_EQ(ReadSafetensors(path_).status().message(),
            absl::StrCat(path_, ": the file was cut off: it has 5 bytes, and the header's length takes 8"));
  SafetensorsFile wrong;
  wrong.tensors["t"] = {DType::kF32, {1}, ""};
  EXPECT_EQ(WriteSafetensors(path_, wrong).message(),
            absl::StrCat("cannot write \"", path_, "\": tensor \"t\": shape [1] of F32 takes 4 bytes, got 0"));
  EXPECT_EQ(*ReadFile(path_), "short") << "the file was not touched";
}

TEST_F(SafetensorsFileTest, FullDiskLosesNothing) {
  ASSERT_TRUE(WriteSafetensors(path_, Sample()).ok());
  SafetensorsFile large;
  large.tensors["t"] = {DType::kU8, {100000}, std::string(100000, 'x')};
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit = {50000, before.rlim_max};
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &limit);
  const absl::Status status = WriteSafetensors(path_, large);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status, absl::ResourceExhaustedError(absl::StrCat("cannot write \"", path_, "\": File too large")));
  EXPECT_EQ(*ReadSafetensors(path_), Sample());
  EXPECT_EQ(FileCount(), 1);
}

}  // namespace
}  // namespace lowbit
