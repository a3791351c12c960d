#include "artifact/torch_checkpoint.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "artifact/little_endian.h"
#include "artifact/zip_archive.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using Tensors = std::map<std::string, TensorBlob>;

// Debian's PyTorch wrote these: testdata/make_testdata.py.
std::string PathOf(const std::string& name) { return absl::StrCat("artifact/testdata/", name, ".pt"); }

std::string Checkpoint(const std::string& name) {
  const absl::StatusOr<std::string> bytes = ReadFile(PathOf(name));
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : "";
}

Tensors Load(const std::string& name) {
  const absl::StatusOr<Tensors> tensors = LoadTorchCheckpoint(PathOf(name));
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  return tensors.ok() ? *tensors : Tensors();
}

std::string ErrorOf(const std::string& bytes) {
  const absl::StatusOr<Tensors> tensors = ParseTorchCheckpoint(bytes, "x.pt");
  EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument) << tensors.status();
  return std::string(tensors.status().message());
}

template <class T>
std::string BytesOf(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

TensorBlob Floats(const std::vector<int64_t>& shape, const std::vector<float>& values) {
  return {DType::kF32, shape, BytesOf(values)};
}

// The generator's ramp(): 0.5, 1.5, ...
std::vector<float> Ramp(int count) {
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(i) + 0.5f);
  return values;
}

// The generator's network().
Tensors Network() {
  Tensors tensors;
  tensors["conv.weight"] = Floats({3, 2, 3, 3}, Ramp(54));
  tensors["bn.weight"] = Floats({3}, {1, 1, 1});
  tensors["bn.bias"] = Floats({3}, {0, 0, 0});
  tensors["bn.running_mean"] = Floats({3}, {0, 0, 0});
  tensors["bn.running_var"] = Floats({3}, {1, 1, 1});
  tensors["bn.num_batches_tracked"] = {DType::kI64, {}, BytesOf<int64_t>({7})};
  return tensors;
}

// ---- what PyTorch wrote ----

class ReadsTest : public testing::TestWithParam<const char*> {
 protected:
  Tensors Load(const std::string& name) const { return lowbit::Load(absl::StrCat(GetParam(), "_", name)); }
  std::string Checkpoint(const std::string& name) const {
    return lowbit::Checkpoint(absl::StrCat(GetParam(), "_", name));
  }
};

INSTANTIATE_TEST_SUITE_P(Forms, ReadsTest, testing::Values("zip", "legacy"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(ReadsTest, StateDict) {
  EXPECT_EQ(Load("plain"), Network());
  EXPECT_EQ(Load("protocol4"), Network());
}

TEST_P(ReadsTest, FollowsTheNesting) {
  EXPECT_EQ(Load("state_dict"), Network());
  EXPECT_EQ(Load("model"), Network());
  EXPECT_EQ(Load("net"), Network());
}

TEST_P(ReadsTest, PassesOverWhatATrainingScriptSaves) { EXPECT_EQ(Load("training"), Network()); }

TEST_P(ReadsTest, RemovesTheModulePrefix) {
  EXPECT_THAT(Checkpoint("module_prefix"), HasSubstr("module.conv.weight"));
  EXPECT_EQ(Load("module_prefix"), Network());
}

TEST_P(ReadsTest, Parameter) { EXPECT_EQ(Load("parameter"), Tensors({{"weight", Floats({2, 2}, Ramp(4))}})); }

TEST_P(ReadsTest, EveryElementType) {
  Tensors expected;
  expected["float64"] = {DType::kF64, {2, 3}, BytesOf<double>({0.5, 1.5, 2.5, 3.5, 4.5, 5.5})};
  expected["float32"] = Floats({2, 3}, Ramp(6));
  // 1.5 is sign 0, exponent 15, mantissa 0x200: 0x3e00.
  expected["float16"] = {DType::kF16, {2, 3}, BytesOf<uint16_t>({0x3800, 0x3e00, 0x4100, 0x4300, 0x4480, 0x4580})};
  expected["bfloat16"] = {DType::kBF16, {2, 3}, BytesOf<uint16_t>({0x3f00, 0x3fc0, 0x4020, 0x4060, 0x4090, 0x40b0})};
  expected["int64"] = {DType::kI64, {2, 3}, BytesOf<int64_t>({0, 1, 2, 3, 4, 5})};
  expected["int32"] = {DType::kI32, {2, 3}, BytesOf<int32_t>({0, 1, 2, 3, 4, 5})};
  expected["int16"] = {DType::kI16, {2, 3}, BytesOf<int16_t>({0, 1, 2, 3, 4, 5})};
  expected["int8"] = {DType::kI8, {2, 3}, BytesOf<int8_t>({0, 1, 2, 3, 4, 5})};
  expected["uint8"] = {DType::kU8, {2, 3}, BytesOf<uint8_t>({0, 1, 2, 3, 4, 5})};
  expected["bool"] = {DType::kBool, {3}, BytesOf<uint8_t>({1, 0, 1})};
  expected["complex64"] = {DType::kC64, {1}, BytesOf<float>({1, 2})};
  expected["scalar"] = Floats({}, {2.5});
  expected["empty"] = Floats({0, 4}, {});
  EXPECT_EQ(Load("types"), expected);
}

TEST_P(ReadsTest, ViewsAndSharedStorages) {
  Tensors expected;
  expected["base"] = expected["tied"] = Floats({4, 6}, Ramp(24));
  std::vector<float> transposed, permuted;
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 4; ++j) transposed.push_back(static_cast<float>(6 * j + i) + 0.5f);
  }
  expected["transposed"] = Floats({6, 4}, transposed);
  expected["rows"] = Floats({2, 6}, {6.5, 7.5, 8.5, 9.5, 10.5, 11.5, 12.5, 13.5, 14.5, 15.5, 16.5, 17.5});
  expected["column"] = Floats({4}, {2.5, 8.5, 14.5, 20.5});
  expected["block"] = Floats({2, 2}, {7.5, 10.5, 19.5, 22.5});
  for (int k = 0; k < 4; ++k) {
    for (int ij = 0; ij < 6; ++ij) permuted.push_back(static_cast<float>(4 * ij + k) + 0.5f);
  }
  expected["permuted"] = Floats({4, 2, 3}, permuted);
  expected["expanded"] = Floats({2, 3}, {1.5, 1.5, 1.5, 2.5, 2.5, 2.5});
  expected["channels_last"] = Floats({1, 3, 2, 2}, Ramp(12));
  EXPECT_EQ(Load("views"), expected);
}

TEST_P(ReadsTest, NaNIsCarried) {
  const Tensors tensors = Load("nan");
  EXPECT_EQ(tensors.at("weight").bytes, BytesOf<uint32_t>({0x3f800000, 0x7fc00000, 0x7f800000}));
}

TEST_P(ReadsTest, RunsNothing) {
  const std::string message = ErrorOf(Checkpoint("shell"));
  EXPECT_THAT(message, StartsWith(GetParam() == std::string("zip") ? "x.pt: entry \"zip_shell/data.pkl\": byte "
                                                                   : "x.pt: byte "));
  EXPECT_THAT(message, HasSubstr(": it wants to call \"posix.system\", which makes no tensor, container or number; "
                                 "nothing was run (of a model, save its state_dict())"));
  EXPECT_FALSE(std::filesystem::exists("/tmp/lowbit_was_run"));
  EXPECT_THAT(ErrorOf(Checkpoint("custom_class")), HasSubstr(": it wants to call \"__main__.Custom\", which makes no"));
}

TEST(TorchCheckpointTest, RefusesAWholeModule) {
  EXPECT_THAT(ErrorOf(Checkpoint("zip_whole_module")),
              HasSubstr("it wants to call \"torch.nn.modules.container.Sequential\""));
}

TEST_P(ReadsTest, RefusesWhatIsNoDictionary) {
  EXPECT_EQ(ErrorOf(Checkpoint("tensor")),
            "x.pt: it holds a tensor, wanted a dictionary of tensors, as a model's state_dict() is");
}

TEST(TorchCheckpointTest, RefusesTorchScript) {
  EXPECT_EQ(ErrorOf(Checkpoint("torchscript")),
            "x.pt: it is a TorchScript program, not a checkpoint: save the model's state_dict() with torch.save()");
}

TEST(TorchCheckpointTest, LegacyOffsetsCountFromTheFilesBegin) {
  const std::string bytes = Checkpoint("legacy_shell");
  EXPECT_THAT(ErrorOf(bytes), HasSubstr(absl::StrCat("x.pt: byte ", bytes.find("cposix\nsystem"), ": ")));
}

// ---- damage ----

const char* const kGood[] = {"plain", "types", "views", "training", "module_prefix", "parameter", "protocol4"};

TEST_P(ReadsTest, EveryCutIsNoticed) {
  for (const char* name : kGood) {
    const std::string bytes = Checkpoint(name);
    ASSERT_FALSE(bytes.empty());
    for (size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_THAT(ErrorOf(bytes.substr(0, size)), StartsWith("x.pt: ")) << name << " cut at byte " << size;
    }
    EXPECT_FALSE(ParseTorchCheckpoint(bytes + '\0', "x.pt").ok()) << name;
  }
}

TEST_P(ReadsTest, MessagesForCuts) {
  const std::string bytes = Checkpoint("plain");
  const std::string half = bytes.substr(0, bytes.size() / 2);
  if (GetParam() == std::string("zip")) {
    EXPECT_EQ(ErrorOf(half), absl::StrCat("x.pt: the file was cut off: it begins as a zip file, but none of its ",
                                          half.size(), " bytes are a zip file's end record"));
    return;
  }
  EXPECT_THAT(ErrorOf(half), HasSubstr("the pickle was cut off"));
  EXPECT_THAT(ErrorOf(bytes.substr(0, bytes.size() - 1)), HasSubstr("left: the file was cut off"));
  EXPECT_EQ(ErrorOf(bytes + "abc"), "x.pt: 3 bytes after the last storage belong to nothing");
  EXPECT_EQ(ErrorOf(bytes.substr(0, 10)),
            "x.pt: not a PyTorch checkpoint (a zip file, or the pickles of PyTorch before 1.6), or cut off: it has 10 "
            "bytes and begins with \"\\x80\\x02\\x8a\\nl\\xfc\\x9c\\x46\\xf9 \"");
}

// What is read can be written and read again.
void ExpectErrorOrTensors(const std::string& bytes) {
  const absl::StatusOr<Tensors> tensors = ParseTorchCheckpoint(bytes, "x.pt");
  if (!tensors.ok()) {
    EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument) << tensors.status();
    return;
  }
  for (const auto& [name, tensor] : *tensors) {
    uint64_t size = static_cast<uint64_t>(DTypeBits(tensor.dtype)) / 8;
    for (const int64_t extent : tensor.shape) size *= static_cast<uint64_t>(extent);
    EXPECT_EQ(tensor.bytes.size(), size) << name;
  }
}

TEST_P(ReadsTest, ChangedBytesGiveAnErrorOrTensors) {
  std::mt19937 random(1);
  for (const char* name : kGood) {
    const std::string bytes = Checkpoint(name);
    for (size_t i = 0; i < bytes.size(); ++i) {
      for (const int change : {0x01, 0x80, static_cast<int>(random() % 255) + 1}) {
        std::string changed = bytes;
        changed[i] = static_cast<char>(changed[i] ^ change);
        ExpectErrorOrTensors(changed);
      }
    }
  }
}

// The CRC-32 would stop nearly every change before the unpickler sees it. So the pickle alone is changed, and packed
// again.
TEST(TorchCheckpointTest, ChangedPicklesGiveAnErrorOrTensors) {
  std::mt19937 random(2);
  for (const char* name : kGood) {
    const std::string bytes = Checkpoint(absl::StrCat("zip_", name));
    const auto zip = internal::ZipArchive::Parse(bytes);
    ASSERT_TRUE(zip.ok()) << zip.status();
    std::vector<internal::ZipInput> entries;
    for (const absl::string_view entry : zip->names()) entries.push_back({std::string(entry), *zip->Read(entry)});
    const std::string pickle(entries[0].bytes);
    ASSERT_TRUE(absl::EndsWith(entries[0].name, "/data.pkl"));
    for (size_t i = 0; i < pickle.size(); ++i) {
      for (int round = 0; round < 4; ++round) {
        std::string changed = pickle;
        changed[i] = static_cast<char>(random());
        if (round == 2) changed.erase(i, random() % 8);
        if (round == 3) changed.insert(i, pickle, random() % pickle.size(), random() % 32);
        entries[0].bytes = changed;
        ExpectErrorOrTensors(absl::StrJoin(internal::LayOutZip(entries)->pieces, ""));
      }
    }
  }
}

TEST_P(ReadsTest, RemovedAndRepeatedStretchesGiveAnErrorOrTensors) {
  for (const char* name : kGood) {
    const std::string bytes = Checkpoint(name);
    for (size_t begin = 0; begin < bytes.size(); begin += 13) {
      for (size_t length = 1; begin + length <= bytes.size(); length = length * 3 + 1) {
        std::string removed = bytes, repeated = bytes;
        removed.erase(begin, length);
        repeated.insert(begin, bytes, begin, length);
        ExpectErrorOrTensors(removed);
        ExpectErrorOrTensors(repeated);
      }
    }
  }
}

// ---- checkpoints by hand ----

std::string Text(const std::string& text) {
  std::string pickle = "X";
  internal::AppendLittleEndian(text.size(), 4, &pickle);
  return pickle + text;
}

std::string Integer(int64_t value) {
  std::string pickle = "\x8a\x08";
  internal::AppendLittleEndian(static_cast<uint64_t>(value), 8, &pickle);
  return pickle;
}

std::string Tuple(const std::vector<int64_t>& values) {
  std::string pickle = "(";
  for (const int64_t value : values) pickle += Integer(value);
  return pickle + "t";
}

// A tensor of the storage "0", a FloatStorage of `size` elements.
std::string Tensor(int64_t size, int64_t offset, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
                   const std::string& storage = "torch\nFloatStorage", const std::string& view = "",
                   const std::string& metadata = "") {
  return absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n((", Text("storage"), "c", storage, "\n", Text("0"),
                      Text("cpu"), Integer(size), view, "tQ", Integer(offset), Tuple(shape), Tuple(strides), "\x89N",
                      metadata, "tR");
}

// A zip checkpoint of this pickle; storage "0" has the floats 0.5, 1.5, 2.5, 3.5.
std::string ZipOf(const std::string& pickle, const std::vector<internal::ZipInput>& more = {}) {
  const std::string numbers = BytesOf(Ramp(4));
  std::vector<internal::ZipInput> entries = {{"a/data.pkl", pickle}, {"a/data/0", numbers}};
  entries.insert(entries.end(), more.begin(), more.end());
  return absl::StrJoin(internal::LayOutZip(entries)->pieces, "");
}

std::string DictOf(const std::string& items) { return absl::StrCat("}(", items, "u."); }

// The error for one tensor "t".
std::string TensorErrorOf(const std::string& tensor) {
  const std::string message = ErrorOf(ZipOf(DictOf(Text("t") + tensor)));
  const std::string start = "x.pt: tensor \"t\": ";
  EXPECT_EQ(message.substr(0, start.size()), start);
  return message.substr(std::min(start.size(), message.size()));
}

TEST(TorchCheckpointTest, TensorsThatLeadOutOfTheirStorage) {
  EXPECT_TRUE(ParseTorchCheckpoint(ZipOf(DictOf(Text("t") + Tensor(4, 1, {3}, {1}))), "x.pt").ok());
  EXPECT_EQ(TensorErrorOf(Tensor(4, 2, {3}, {1})),
            "shape [3] with strides [1] from element 2 on leads out of storage \"0\", which has 4 elements");
  EXPECT_EQ(TensorErrorOf(Tensor(4, 0, {2, 2}, {3, 1})),
            "shape [2, 2] with strides [3, 1] from element 0 on leads out of storage \"0\", which has 4 elements");
  EXPECT_EQ(TensorErrorOf(Tensor(4, 4, {}, {})),
            "shape [] with strides [] from element 4 on leads out of storage \"0\", which has 4 elements");
  EXPECT_THAT(TensorErrorOf(Tensor(4, -1, {1}, {1})), HasSubstr("from element -1 on leads out of"));
  EXPECT_THAT(TensorErrorOf(Tensor(4, -1, {0}, {1})), HasSubstr("from element -1 on leads out of"));
  EXPECT_THAT(TensorErrorOf(Tensor(4, 0, {3}, {std::numeric_limits<int64_t>::max()})), HasSubstr("leads out of"));
  EXPECT_THAT(TensorErrorOf(Tensor(4, std::numeric_limits<int64_t>::max(), {2}, {1})), HasSubstr("leads out of"));
}

TEST(TorchCheckpointTest, ShapesThatAreNone) {
  EXPECT_EQ(TensorErrorOf(Tensor(4, 0, {-2}, {1})), "shape [-2] has a negative number");
  EXPECT_EQ(TensorErrorOf(Tensor(4, 0, {2}, {-1})), "strides [-1] has a negative number");
  EXPECT_EQ(TensorErrorOf(Tensor(4, 0, {2, 2}, {1})), "shape [2, 2] and strides [1] have different lengths");
  EXPECT_EQ(TensorErrorOf(Tensor(4, 0, {1LL << 32, 1LL << 32}, {0, 0})),
            "shape [4294967296, 4294967296] of F32 overflows 64 bits");
  EXPECT_EQ(TensorErrorOf(Tensor(4, 0, std::vector<int64_t>(65, 1), {1})),
            "shape of 65 dimensions, and the limit is 64");
  std::string no_integer = Tensor(4, 0, {}, {});
  no_integer.replace(no_integer.find("(t"), 2, "(Nt");
  EXPECT_EQ(TensorErrorOf(no_integer), "shape must hold integers, got None");
}

TEST(TorchCheckpointTest, StoragesOfAnotherSize) {
  EXPECT_EQ(TensorErrorOf(Tensor(5, 0, {1}, {1})), "entry \"a/data/0\" has 16 bytes, wanted 5 elements of 4");
  EXPECT_EQ(TensorErrorOf(Tensor(std::numeric_limits<int64_t>::max(), 0, {1}, {1})),
            "entry \"a/data/0\" has 16 bytes, wanted 9223372036854775807 elements of 4");
  std::string other = Tensor(4, 0, {1}, {1});
  other.replace(other.find(Text("0")), Text("0").size(), Text("../0"));
  EXPECT_EQ(TensorErrorOf(other), "entry \"a/data/../0\" is missing");
}

TEST(TorchCheckpointTest, ElementTypesWithoutACounterpart) {
  EXPECT_EQ(TensorErrorOf(Tensor(1, 0, {1}, {1}, "torch\nComplexDoubleStorage")),
            "its elements are complex128, which has no counterpart here");
  EXPECT_EQ(TensorErrorOf(Tensor(16, 0, {1}, {1}, "torch.storage\nUntypedStorage")), "its storage has no element type");
  EXPECT_EQ(TensorErrorOf(Tensor(4, 0, {1}, {1}, "torch\nFloatStorage", "", absl::StrCat("}", Text("neg"), "\x88s"))),
            "it is marked as negative or conjugate: save what resolve_neg() or resolve_conj() returns");
  EXPECT_THAT(ErrorOf(ZipOf(DictOf(Text("t") + Tensor(4, 0, {1}, {1}, "torch\nQInt8Storage")))),
              HasSubstr("it wants to call \"torch.QInt8Storage\""));
}

Tensors ParseOk(const std::string& bytes) {
  const absl::StatusOr<Tensors> tensors = ParseTorchCheckpoint(bytes, "x.pt");
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  return tensors.ok() ? *tensors : Tensors();
}

TEST(TorchCheckpointTest, StoragesOnAGpu) {
  EXPECT_EQ(ParseOk(ZipOf(DictOf(Text("t") + Tensor(4, 2, {2}, {1}, "torch.cuda\nFloatStorage")))).at("t"),
            Floats({2}, {2.5, 3.5}));
}

TEST(TorchCheckpointTest, ViewsOfStorages) {
  const auto view = [](int64_t begin, int64_t size) {
    return absl::StrCat("(", Text("v"), Integer(begin), Integer(size), "t");
  };
  const std::string storage = "torch\nFloatStorage";
  EXPECT_EQ(ParseOk(ZipOf(DictOf(Text("t") + Tensor(4, 1, {2}, {1}, storage, view(1, 3))))).at("t"),
            Floats({2}, {2.5, 3.5}));
  EXPECT_EQ(TensorErrorOf(Tensor(4, 1, {3}, {1}, storage, view(1, 3))),
            "shape [3] with strides [1] from element 1 on leads out of storage \"0\", which has 3 elements");
  EXPECT_EQ(TensorErrorOf(Tensor(4, 0, {1}, {1}, storage, view(2, 3))),
            "its storage is 3 elements from 2 on of storage \"0\", which has 4");
  EXPECT_THAT(TensorErrorOf(Tensor(4, 0, {1}, {1}, storage, view(5, 0))),
              HasSubstr("its storage is 0 elements from 5"));
}

// As PyTorch 2.3 writes a uint16 tensor: a storage of plain bytes.
TEST(TorchCheckpointTest, TypesThatHaveNoStorageClass) {
  const std::string pickle = absl::StrCat("ctorch._utils\n_rebuild_tensor_v3\n((", Text("storage"),
                                          "ctorch.storage\nUntypedStorage\n", Text("0"), Text("cpu"), Integer(16), "tQ",
                                          Integer(2), Tuple({6}), Tuple({1}), "\x89Nctorch\nuint16\ntR");
  const TensorBlob tensor = ParseOk(ZipOf(DictOf(Text("t") + pickle))).at("t");
  EXPECT_EQ(tensor.dtype, DType::kU16);
  EXPECT_EQ(tensor.bytes, BytesOf(Ramp(4)).substr(4));
}

TEST(TorchCheckpointTest, RepeatedStoragesMayTakeSoMuchMemoryAndNoMore) {
  const int64_t most = (64 << 20) / 4;
  EXPECT_EQ(ParseOk(ZipOf(DictOf(Text("t") + Tensor(4, 3, {most}, {0})))).at("t").bytes.size(), 64u << 20);
  EXPECT_EQ(
      TensorErrorOf(Tensor(4, 3, {most + 1}, {0})),
      "shape [16777217] with strides [0] repeats its storage: with it the tensors would take far more memory than "
      "the file");
  EXPECT_THAT(
      ErrorOf(ZipOf(DictOf(absl::StrCat(Text("a"), Tensor(4, 3, {most}, {0}), Text("b"), Tensor(4, 3, {}, {}))))),
      HasSubstr("tensor \"b\": shape [] with strides [] repeats its storage"));
}

TEST(TorchCheckpointTest, Names) {
  const std::string one = Tensor(4, 0, {1}, {1});
  const auto names = [&](const std::vector<std::string>& keys) {
    std::string items;
    for (const std::string& key : keys) items += Text(key) + one;
    std::string joined;
    for (const auto& entry : ParseOk(ZipOf(DictOf(items)))) absl::StrAppend(&joined, "<", entry.first, ">");
    return joined;
  };
  EXPECT_EQ(names({"module.a", "module.b"}), "<a><b>");
  EXPECT_EQ(names({"module.module.a", "module.module.b"}), "<a><b>");
  EXPECT_EQ(names({"module.module.a", "module.b"}), "<b><module.a>");
  EXPECT_EQ(names({"module.a", "b"}), "<b><module.a>") << "not common to all";
  EXPECT_EQ(names({"module."}), "<module.>") << "nothing would be left";
  EXPECT_EQ(names({"model.a", ""}), "<><model.a>");
  EXPECT_EQ(ErrorOf(ZipOf(DictOf(Text("t") + one + Text("t") + one))), "x.pt: tensor \"t\" occurs twice");
  EXPECT_EQ(ErrorOf(ZipOf(DictOf(Integer(0) + one))), "x.pt: a tensor's name must be a text, got an integer");
}

TEST(TorchCheckpointTest, Nesting) {
  const std::string one = Tensor(4, 0, {1}, {1});
  const std::string inner = absl::StrCat("}", Text("t"), one, "s");
  const auto nested = [&](const std::string& key) { return DictOf(Text(key) + inner); };
  for (const char* key : {"state_dict", "model_state_dict", "model", "net"})
    EXPECT_EQ(ParseOk(ZipOf(nested(key))).count("t"), 1u);
  EXPECT_EQ(ParseOk(ZipOf(DictOf(absl::StrCat(Text("model"), "}", Text("state_dict"), inner, "s")))).count("t"), 1u);
  EXPECT_EQ(ParseOk(ZipOf(DictOf(absl::StrCat(Text("model"), Text("resnet20"), Text("net"), inner)))).count("t"), 1u)
      << "a text is not the model";
  EXPECT_EQ(ErrorOf(ZipOf(DictOf(absl::StrCat(Text("net"), inner, Text("model"), inner)))),
            "x.pt: it holds both \"model\" and \"net\": which of them is the model cannot be known");
  EXPECT_EQ(ErrorOf(ZipOf(DictOf(absl::StrCat(Text("generator"), inner, Integer(3), Text("x"), "N]")))),
            "x.pt: there are no tensors in its dictionary, which holds \"generator\", 3, None; wanted a model's "
            "state_dict(), at the top or under \"state_dict\", \"model_state_dict\", \"model\" or \"net\"");
  EXPECT_THAT(ErrorOf(ZipOf("}.")), HasSubstr("there are no tensors in its dictionary, which holds nothing; wanted"));
  EXPECT_EQ(ErrorOf(ZipOf(absl::StrCat("}q\x01", Text("model"), "h\x01s."))),
            "x.pt: its dictionaries are nested more than 16 deep");
  EXPECT_EQ(ErrorOf(ZipOf("].")),
            "x.pt: it holds a list, wanted a dictionary of tensors, as a model's state_dict() is");
}

TEST(TorchCheckpointTest, Archive) {
  const std::string pickle = DictOf(Text("t") + Tensor(4, 0, {1}, {1}));
  EXPECT_EQ(ParseOk(ZipOf(pickle, {{"a/byteorder", "little"}})).count("t"), 1u);
  EXPECT_EQ(ErrorOf(ZipOf(pickle, {{"a/byteorder", "big"}})), "x.pt: its byte order is \"big\", wanted \"little\"");
  EXPECT_EQ(ErrorOf(ZipOf(pickle, {{"b/data.pkl", pickle}})), "x.pt: both \"a/data.pkl\" and \"b/data.pkl\" are there");
  EXPECT_EQ(ParseOk(ZipOf(pickle, {{"a/data/data.pkl", ""}})).count("t"), 1u);
  EXPECT_EQ(ErrorOf(absl::StrJoin(internal::LayOutZip({{"word/document.xml", "<xml>"}})->pieces, "")),
            "x.pt: a zip file without an entry \"<folder>/data.pkl\" is no PyTorch checkpoint");
  EXPECT_EQ(ErrorOf(ZipOf("K\x01")),
            "x.pt: entry \"a/data.pkl\": byte 2: the pickle was cut off: it wants 1 bytes here, and 0 are left");
  std::string changed = ZipOf(pickle);
  changed[changed.find(BytesOf(Ramp(4)))] ^= 1;
  EXPECT_THAT(ErrorOf(changed), HasSubstr("x.pt: tensor \"t\": entry \"a/data/0\" is damaged: its CRC-32 is "));
}

const std::string& LegacyMagic() {
  static const std::string magic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
  return magic;
}

// A legacy checkpoint of this pickle and these keys, with `data` behind.
std::string LegacyOf(const std::string& pickle, const std::string& keys, const std::string& data,
                     const std::string& version = std::string("M\xe9\x03."), const std::string& little = "\x88") {
  return absl::StrCat(LegacyMagic(), version, "}", Text("little_endian"), little, "s.", pickle, keys, data);
}

TEST(TorchCheckpointTest, LegacyByHand) {
  const std::string pickle = DictOf(Text("t") + Tensor(4, 0, {1}, {1}));
  const std::string keys = absl::StrCat("]", Text("0"), "a.");
  std::string count;
  internal::AppendLittleEndian(4, 8, &count);
  const std::string data = count + BytesOf(Ramp(4));
  const std::string good = LegacyOf(pickle, keys, data);
  EXPECT_EQ(ParseOk(good).at("t"), Floats({1}, {0.5}));
  const size_t keys_begin = good.size() - data.size() - keys.size();
  const std::string place = absl::StrCat("x.pt: byte ", good.size() - data.size(), ": storage \"0\"");

  EXPECT_EQ(ErrorOf(LegacyOf(pickle, keys, data, "K\x07.")), "x.pt: its version is 7, wanted 1001");
  EXPECT_EQ(ErrorOf(LegacyOf(pickle, keys, data, "N.")), "x.pt: byte 15: the version must be an integer, got None");
  EXPECT_EQ(ErrorOf(LegacyOf(pickle, keys, data, "M\xe9\x03.", "\x89")),
            "x.pt: it was not written on a little-endian machine");
  EXPECT_EQ(ErrorOf(LegacyOf(pickle, "].", "")), "x.pt: tensor \"t\": storage \"0\" is missing");
  EXPECT_EQ(ErrorOf(LegacyOf(pickle, "}.", "")),
            absl::StrCat("x.pt: byte ", keys_begin, ": the list of storages must be a list, got a dictionary"));
  EXPECT_EQ(ErrorOf(LegacyOf(pickle, absl::StrCat("]", Text("1"), "a."), data)),
            absl::StrCat("x.pt: byte ", keys_begin, ": the list names storage \"1\", which no tensor uses"));
  EXPECT_EQ(ErrorOf(LegacyOf(pickle, keys, "")), place + " is missing: the file was cut off");
  EXPECT_EQ(ErrorOf(LegacyOf(pickle, keys, std::string(24, '\0'))), place + " has 0 elements, wanted 4");
  EXPECT_EQ(ErrorOf(LegacyOf(pickle, keys, data.substr(0, 20))),
            place + " has 4 elements of 4 bytes, and only 12 bytes are left: the file was cut off");
  EXPECT_THAT(ErrorOf(LegacyOf(pickle, absl::StrCat("](", Text("0"), Text("0"), "e."), data + data)),
              HasSubstr(": storage \"0\" occurs twice"));
  // A second tensor says that the same storage is larger.
  EXPECT_EQ(ErrorOf(LegacyOf(DictOf(absl::StrCat(Text("t"), Tensor(4, 0, {1}, {1}), Text("u"), Tensor(8, 0, {1}, {1}))),
                             keys, data)),
            "x.pt: tensor \"u\": storage \"0\" has 16 bytes, wanted 8 elements of 4");
}

TEST(TorchCheckpointTest, IsTorchCheckpoint) {
  for (const char* name : {"zip_plain", "legacy_plain", "zip_protocol4", "legacy_protocol4"}) {
    const std::string bytes = Checkpoint(name);
    EXPECT_TRUE(IsTorchCheckpoint(bytes)) << name;
    EXPECT_TRUE(IsTorchCheckpoint(bytes.substr(0, 32))) << name;
    EXPECT_FALSE(IsTorchCheckpoint(bytes.substr(1))) << name;
    EXPECT_FALSE(IsTorchCheckpoint(bytes.substr(0, 3))) << name;
  }
  EXPECT_FALSE(IsTorchCheckpoint(""));
  EXPECT_FALSE(IsTorchCheckpoint("\x80\x02}q\x01."));
  EXPECT_FALSE(IsTorchCheckpoint("\x80\x04\x95"));
  EXPECT_FALSE(IsTorchCheckpoint(std::string("\x3c\0\0\0\0\0\0\0{\"a\"", 12)));
}

// ---- writing ----

TEST(SaveTorchCheckpointTest, RoundTrip) {
  for (const char* name : {"zip_plain", "zip_types", "zip_views"}) {
    const Tensors tensors = Load(name);
    const absl::StatusOr<std::string> bytes = SerializeTorchCheckpoint(tensors);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(ParseOk(*bytes), tensors) << name;
    EXPECT_EQ(*SerializeTorchCheckpoint(tensors), *bytes) << "the same bytes again";
  }
}

TEST(SaveTorchCheckpointTest, LargeExtents) {
  Tensors tensors;
  tensors["255"] = {DType::kU8, {255}, std::string(255, 'x')};
  tensors["256"] = {DType::kU8, {256}, std::string(256, 'x')};
  tensors["70000"] = {DType::kU8, {70000}, std::string(70000, 'x')};
  tensors["2^31"] = {DType::kU8, {1LL << 31, 0}, ""};
  tensors["größe"] = {DType::kU8, {1, 1, 1, 1, 1}, "x"};
  EXPECT_EQ(ParseOk(*SerializeTorchCheckpoint(tensors)), tensors);
}

TEST(SaveTorchCheckpointTest, LayoutIsTheDocumentedOne) {
  const std::string bytes = *SerializeTorchCheckpoint({{"b", Floats({2, 3}, Ramp(6))}, {"a", Floats({1}, {1})}});
  const auto zip = internal::ZipArchive::Parse(bytes);
  ASSERT_TRUE(zip.ok()) << zip.status();
  EXPECT_THAT(zip->names(), ElementsAre("archive/data.pkl", "archive/byteorder", "archive/data/0", "archive/data/1",
                                        "archive/version"));
  EXPECT_EQ(*zip->Read("archive/byteorder"), "little");
  EXPECT_EQ(*zip->Read("archive/version"), "3\n");
  EXPECT_EQ(*zip->Read("archive/data/0"), BytesOf<float>({1}));
  EXPECT_EQ(*zip->Read("archive/data/1"), BytesOf(Ramp(6)));
  EXPECT_EQ((zip->Read("archive/data/1")->data() - bytes.data()) % 64, 0);
  const std::string zero(1, '\0');
  const auto tensor = [&](const std::string& name, const std::string& key, const std::string& rest) {
    return absl::StrCat(Text(name), "ctorch._utils\n_rebuild_tensor_v2\n((", Text("storage"), "ctorch\nFloatStorage\n",
                        Text(key), Text("cpu"), rest,
                        "\x89"
                        "ccollections\nOrderedDict\n)RtR");
  };
  EXPECT_EQ(*zip->Read("archive/data.pkl"),
            absl::StrCat("\x80\x02"
                         "ccollections\nOrderedDict\n)R(",
                         tensor("a", "0", absl::StrCat("K\x01tQK", zero, "(K\x01t(K\x01t")),
                         tensor("b", "1", absl::StrCat("K\x06tQK", zero, "(K\x02K\x03t(K\x03K\x01t")), "u."));
}

TEST(SaveTorchCheckpointTest, RefusesWhatACheckpointCannotHold) {
  const auto error_of = [](const std::string& name, const TensorBlob& tensor) {
    const absl::StatusOr<std::string> bytes = SerializeTorchCheckpoint({{name, tensor}});
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(bytes.status().message());
  };
  EXPECT_EQ(error_of("t", {DType::kF32, {2, 2}, std::string(15, 'x')}),
            "tensor \"t\": shape [2, 2] of F32 takes 16 bytes, got 15");
  EXPECT_EQ(error_of("t", {DType::kF32, {-1}, ""}), "tensor \"t\": shape [-1] has a negative extent");
  EXPECT_EQ(error_of("\xff", {DType::kI8, {}, "x"}), "tensor \"\\xff\": its name is not UTF-8");
  for (const DType dtype : {DType::kU16, DType::kU32, DType::kU64, DType::kF8E4M3, DType::kF4}) {
    EXPECT_EQ(error_of("t", {dtype, {0}, ""}),
              absl::StrCat("tensor \"t\": PyTorch has no storage of ", DTypeName(dtype), " that every version reads"));
  }
}

class TorchCheckpointFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / absl::StrCat("torch_checkpoint_test-", getpid());
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "model.pt").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(TorchCheckpointFileTest, WritesAndReadsBack) {
  ASSERT_TRUE(SaveTorchCheckpoint(path_, Network()).ok());
  EXPECT_EQ(*LoadTorchCheckpoint(path_), Network());
  const std::string bytes = *ReadFile(path_);
  EXPECT_EQ(bytes, *SerializeTorchCheckpoint(Network()));
  ASSERT_TRUE(SaveTorchCheckpoint(path_, Network()).ok());
  EXPECT_EQ(*ReadFile(path_), bytes) << "the same bytes again";
}

TEST_F(TorchCheckpointFileTest, ErrorsNameTheFile) {
  EXPECT_EQ(LoadTorchCheckpoint(path_).status(),
            absl::NotFoundError(absl::StrCat("cannot read \"", path_, "\": No such file or directory")));
  ASSERT_TRUE(WriteFileAtomic(path_, "short").ok());
  EXPECT_EQ(LoadTorchCheckpoint(path_).status().message(),
            absl::StrCat(path_,
                         ": not a PyTorch checkpoint (a zip file, or the pickles of PyTorch before 1.6), or cut "
                         "off: it has 5 bytes and begins with \"short\""));
  EXPECT_EQ(SaveTorchCheckpoint(path_, {{"t", {DType::kF32, {1}, ""}}}).message(),
            absl::StrCat("cannot write \"", path_, "\": tensor \"t\": shape [1] of F32 takes 4 bytes, got 0"));
  EXPECT_EQ(*ReadFile(path_), "short") << "the file was not touched";
}

}  // namespace
}  // namespace lowbit
