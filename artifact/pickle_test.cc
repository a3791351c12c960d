#include "artifact/pickle.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace internal {
namespace {

using testing::HasSubstr;
using Kind = PickleValue::Kind;

// A literal with its zero bytes.
template <size_t size>
std::string Bytes(const char (&literal)[size]) {
  return std::string(literal, size - 1);
}

// The bytes must outlive the pickle.
Pickle Read(const std::string& bytes) {
  absl::StatusOr<Pickle> pickle = ReadPickle(bytes, 0);
  EXPECT_TRUE(pickle.ok()) << pickle.status();
  return pickle.ok() ? *std::move(pickle) : Pickle();
}

std::string ErrorOf(const std::string& bytes) {
  const absl::StatusOr<Pickle> pickle = ReadPickle(bytes, 0);
  EXPECT_EQ(pickle.status().code(), absl::StatusCode::kInvalidArgument) << pickle.status();
  return std::string(pickle.status().message());
}

int64_t IntegerOf(const std::string& bytes) {
  const Pickle pickle = Read(bytes);
  EXPECT_EQ(pickle.root.kind, Kind::kInteger);
  return pickle.root.integer;
}

// ---- numbers, texts, containers ----

TEST(PickleTest, Integers) {
  EXPECT_EQ(IntegerOf("K\xff."), 255);
  EXPECT_EQ(IntegerOf(Bytes("M\x00\xff.")), 0xff00);
  EXPECT_EQ(IntegerOf("J\xfe\xff\xff\xff."), -2);
  EXPECT_EQ(IntegerOf(Bytes("\x8a\x00.")), 0);
  EXPECT_EQ(IntegerOf("\x8a\x01\xff."), -1);
  EXPECT_EQ(IntegerOf(Bytes("\x8a\x03\xff\xff\x00.")), 65535);
  EXPECT_EQ(IntegerOf("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f."), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(IntegerOf(Bytes("\x8b\x01\x00\x00\x00\x80.")), -128);
  EXPECT_EQ(Read("\x8a\x09"
                 "123456789.")
                .root.kind,
            Kind::kOpaque)
      << "more than 64 bits";
}

TEST(PickleTest, OtherLiterals) {
  EXPECT_EQ(Read("N.").root.kind, Kind::kNone);
  EXPECT_EQ(Read("\x88.").root.kind, Kind::kBool);
  EXPECT_EQ(Read("\x88.").root.integer, 1);
  EXPECT_EQ(Read("\x89.").root.integer, 0);
  EXPECT_EQ(Read("G12345678.").root.kind, Kind::kFloat);
  for (const std::string& text : {Bytes("U\x02hi."), Bytes("T\x02\0\0\0hi."), Bytes("X\x02\0\0\0hi."),
                                  Bytes("\x8c\x02hi."), Bytes("\x8d\x02\0\0\0\0\0\0\0hi.")}) {
    EXPECT_EQ(Read(text).root.kind, Kind::kText);
    EXPECT_EQ(Read(text).root.text, "hi");
  }
  for (const std::string& bytes : {Bytes("C\x02hi."), Bytes("B\x02\0\0\0hi."), Bytes("\x8e\x02\0\0\0\0\0\0\0hi."),
                                   Bytes("\x96\x02\0\0\0\0\0\0\0hi.")}) {
    EXPECT_EQ(Read(bytes).root.kind, Kind::kOpaque);
  }
}

TEST(PickleTest, Containers) {
  for (const std::string tuple : {"(K\x01K\x02t.", "K\x01K\x02\x86.", "NNK\x01K\x02\x86."}) {
    const Pickle pickle = Read(tuple);
    EXPECT_EQ(pickle.root.kind, Kind::kTuple);
    ASSERT_EQ(pickle.sequences[0].size(), 2u);
    EXPECT_EQ(pickle.sequences[0][1].integer, 2);
  }
  EXPECT_EQ(Read("].").root.kind, Kind::kList);
  EXPECT_EQ(Read("](K\x01K\x02"
                 "eK\x03"
                 "a.")
                .sequences[0]
                .size(),
            3u);
  EXPECT_EQ(Read("\x8f(K\x01K\x02\x90.").sequences[0].size(), 2u);
  EXPECT_EQ(Read("(K\x01K\x02\x91.").sequences[0].size(), 2u);
  const Pickle dict = Read("}(K\x01K\x02K\x03K\x04uK\x05K\x06s.");
  EXPECT_EQ(dict.root.kind, Kind::kDict);
  ASSERT_EQ(dict.dicts[0].size(), 3u);
  EXPECT_EQ(dict.dicts[0][2].first.integer, 5);
  EXPECT_EQ(dict.dicts[0][2].second.integer, 6);
}

TEST(PickleTest, Memo) {
  EXPECT_EQ(Read(Bytes("]q\x05h\x05K\x01"
                       "a\x85."))
                .sequences[0]
                .size(),
            1u);
  EXPECT_EQ(Read(Bytes("]r\x05\0\0\xffj\x05\0\0\xffK\x01"
                       "a."))
                .sequences[0]
                .size(),
            1u);
  EXPECT_EQ(Read(Bytes("]\x94K\x07\x94h\x01.")).root.integer, 7);
  // A list that contains itself.
  const Pickle pickle = Read(
      "]q\x01h\x01"
      "a.");
  EXPECT_EQ(pickle.sequences[0][0].kind, Kind::kList);
  EXPECT_EQ(pickle.sequences[0][0].integer, 0);
}

TEST(PickleTest, EndsAtStop) {
  const std::string bytes = "junkK\x07.more";
  const absl::StatusOr<Pickle> pickle = ReadPickle(bytes, 4);
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  EXPECT_EQ(pickle->root.integer, 7);
  EXPECT_EQ(pickle->end, 7u);
}

TEST(PickleTest, CallsThatMakeContainers) {
  EXPECT_EQ(Read("ccollections\nOrderedDict\n)R.").root.kind, Kind::kDict);
  const std::string by_python_2 =
      "ccollections\nOrderedDict\n](](K\x01K\x02"
      "e](K\x03K\x04"
      "ee\x85R.";
  const Pickle dict = Read(by_python_2);
  ASSERT_EQ(dict.root.kind, Kind::kDict);
  ASSERT_EQ(dict.dicts[0].size(), 2u);
  EXPECT_EQ(dict.dicts[0][1].second.integer, 4);
  EXPECT_EQ(Read("ccollections\nCounter\n}K\x01K\x02s\x85R.").dicts[0].size(), 1u);
  EXPECT_EQ(Read("c__builtin__\nset\n]K\x01"
                 "a\x85R.")
                .root.kind,
            Kind::kList);
  EXPECT_EQ(Read("ctorch\nSize\nK\x01\x85\x85R.").root.kind, Kind::kTuple);
  EXPECT_EQ(Read("\x8c\x0b"
                 "collections\x8c\x0bOrderedDict\x93)\x81.")
                .root.kind,
            Kind::kDict);
  // Attributes are passed over.
  EXPECT_EQ(Read("ccollections\nOrderedDict\n)R}Nb.").root.kind, Kind::kDict);
  EXPECT_EQ(Read("cnumpy.core.multiarray\nscalar\nNN\x86R.").root.kind, Kind::kOpaque);
}

// ---- tensors ----

std::string PersistentId(const std::string& rest) {
  return "((U\x07storagectorch\nHalfStorage\nU\x01kU\x03"
         "cpuK\x06" +
         rest + "tQ";
}

TEST(PickleTest, Tensor) {
  const std::string bytes =
      "ctorch._utils\n_rebuild_tensor_v2\n" + PersistentId("") + "K\x01K\x02K\x01\x86K\x01K\x02\x86\x89NtR.";
  const Pickle pickle = Read(bytes);
  ASSERT_EQ(pickle.root.kind, Kind::kTensor);
  const PickledTensor& tensor = pickle.tensors[0];
  EXPECT_EQ(tensor.element->name, "float16");
  EXPECT_EQ(tensor.offset.integer, 1);
  EXPECT_EQ(pickle.sequences[tensor.shape.integer][0].integer, 2);
  EXPECT_EQ(pickle.sequences[tensor.strides.integer][1].integer, 2);
  EXPECT_FALSE(tensor.has_metadata);
  const PickledStorage& storage = pickle.storages[tensor.storage];
  EXPECT_EQ(storage.key, "k");
  EXPECT_EQ(storage.size, 6);
  EXPECT_EQ(storage.view_begin, 0);
  EXPECT_EQ(storage.view_size, 6);
}

TEST(PickleTest, FormsOfTensors) {
  const auto tensor = [](const std::string& bytes) {
    const Pickle pickle = Read(bytes);
    EXPECT_EQ(pickle.root.kind, Kind::kTensor);
    return pickle.tensors.at(0);
  };
  std::string zero_offset = PersistentId("");
  zero_offset += Bytes("K\x00))");
  const std::string v2 = zero_offset + "\x89N";
  tensor("ctorch._utils\n_rebuild_tensor\n" + zero_offset + "tR.");
  EXPECT_FALSE(tensor("ctorch._utils\n_rebuild_tensor_v2\n" + v2 + "}tR.").has_metadata);
  EXPECT_TRUE(tensor("ctorch._utils\n_rebuild_tensor_v2\n" + v2 + "}U\x03neg\x88stR.").has_metadata);
  EXPECT_EQ(tensor("ctorch._utils\n_rebuild_tensor_v3\n" + v2 + "ctorch\nuint16\ntR.").element->name, "uint16");
  tensor("ctorch._utils\n_rebuild_parameter\n(ctorch._utils\n_rebuild_tensor_v2\n" + v2 + "tR\x88NtR.");
  tensor("ctorch._utils\n_rebuild_parameter_with_state\n(ctorch._utils\n_rebuild_tensor_v2\n" + v2 + "tR\x88N}tR.");
  tensor("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n" + v2 + "t}tR.");
}

TEST(PickleTest, ViewOfAStorageAsBeforePyTorch04) {
  const std::string bytes = PersistentId("U\x01vK\x02K\x03\x87") + ".";
  const Pickle pickle = Read(bytes);
  EXPECT_EQ(pickle.root.kind, Kind::kStorage);
  EXPECT_EQ(pickle.storages[0].view_begin, 2);
  EXPECT_EQ(pickle.storages[0].view_size, 3);
  Read(PersistentId("N") + ".");
}

// ---- what is refused ----

TEST(PickleTest, RefusesByName) {
  const std::string why =
      "\", which makes no tensor, container or number; nothing was run (of a model, save its state_dict())";
  EXPECT_EQ(ErrorOf("\x80\x02"
                    "cos\nsystem\nU\x04true\x85R."),
            "byte 2: it wants to call \"os.system" + why);
  EXPECT_EQ(ErrorOf("\x8c\x05posix\x8c\x06system\x93."), "byte 15: it wants to call \"posix.system" + why);
  EXPECT_EQ(ErrorOf("c__main__\nNet\n)\x81."), "byte 0: it wants to call \"__main__.Net" + why);
  for (const std::string name : {"builtins\neval", "__builtin__\nexec", "torch\nload", "torch._utils\n_rebuild_qtensor",
                                 "torch.storage\n_load_from_bytes", "collections\nOrderedDict.fromkeys", "\n"}) {
    EXPECT_THAT(ErrorOf("c" + name + "\n."), HasSubstr("it wants to call \""));
  }
  EXPECT_THAT(ErrorOf("c\x1b[2J\n" + std::string(1000, 'n') + "\n."), HasSubstr("call \"\\x1b[2J.nnnn"));
  EXPECT_LT(ErrorOf("cm\n" + std::string(100000, 'n') + "\n.").size(), 400u);
}

TEST(PickleTest, RefusesOpcodes) {
  EXPECT_EQ(ErrorOf("(ios\nsystem\n."), "byte 1: opcode 0x69, which no checkpoint needs");
  EXPECT_EQ(ErrorOf("(cos\nsystem\no."),
            "byte 1: it wants to call \"os.system\", which makes no tensor, container or "
            "number; nothing was run (of a model, save its state_dict())");
  EXPECT_EQ(ErrorOf("\x82\x01."), "byte 0: opcode 0x82, which no checkpoint needs");
  EXPECT_EQ(ErrorOf("Pid\n."), "byte 0: opcode 0x50, which no checkpoint needs");
  EXPECT_EQ(ErrorOf("\x80\x06."), "byte 0: pickle protocol 6, wanted 2 to 5");
}

TEST(PickleTest, EveryOpcodeOnAnEmptyStackIsAnErrorOrAValue) {
  for (int opcode = 0; opcode < 256; ++opcode) {
    for (const std::string& rest :
         {Bytes(""), Bytes("\0\0\0\0\0\0\0\0\0."), Bytes("\xff\xff\xff\xff\xff\xff\xff\xff."), Bytes("\n\n.")}) {
      const absl::StatusOr<Pickle> pickle = ReadPickle(std::string(1, static_cast<char>(opcode)) + rest, 0);
      EXPECT_TRUE(pickle.ok() || pickle.status().code() == absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST(PickleTest, StackAndMemo) {
  EXPECT_EQ(ErrorOf("."), "byte 0: the pickle is damaged: it takes 1 values, and there are 0");
  EXPECT_EQ(ErrorOf("K\x01\x86."), "byte 2: the pickle is damaged: it takes 2 values, and there are 1");
  EXPECT_EQ(ErrorOf("K\x01K\x02(\x86."), "byte 5: the pickle is damaged: it takes 2 values, and there are 0");
  EXPECT_EQ(ErrorOf("t."), "byte 0: the pickle is damaged: there is no mark to go back to");
  EXPECT_EQ(ErrorOf("(u."), "byte 1: the pickle is damaged: it takes 1 values, and there are 0");
  EXPECT_EQ(ErrorOf("}(Nu."), "byte 3: the pickle is damaged: a dictionary's last key has no value");
  EXPECT_EQ(ErrorOf("h\x07."), "byte 0: the pickle is damaged: memo 7 is not set");
  EXPECT_EQ(ErrorOf("q\x07."), "byte 0: the pickle is damaged: it takes 1 values, and there are 0");
  EXPECT_EQ(ErrorOf("NNa."), "byte 2: it wants to append to None");
  EXPECT_EQ(ErrorOf("]NNs."), "byte 3: it wants to set items of a list");
  EXPECT_EQ(ErrorOf("K\x01Nb."), "byte 3: it wants to set attributes of an integer");
  EXPECT_EQ(ErrorOf("K\x01)R."), "byte 3: it wants to call an integer");
  EXPECT_EQ(ErrorOf("NN\x93."), "byte 2: the pickle is damaged: a function's name is no text");
}

TEST(PickleTest, CutOff) {
  EXPECT_EQ(ErrorOf(""), "byte 0: the pickle was cut off: it wants 1 bytes here, and 0 are left");
  EXPECT_EQ(ErrorOf("N"), "byte 1: the pickle was cut off: it wants 1 bytes here, and 0 are left");
  EXPECT_EQ(ErrorOf(Bytes("X\xff\xff\xff\xffhi")),
            "byte 0: the pickle was cut off: it wants 4294967295 bytes here, and 2 are left");
  EXPECT_EQ(ErrorOf("\x8d\xff\xff\xff\xff\xff\xff\xff\xff."),
            "byte 0: the pickle was cut off: it wants 18446744073709551615 bytes here, and 1 are left");
  EXPECT_EQ(ErrorOf("ctorch\nFloat"), "byte 0: the pickle was cut off within a name");
}

TEST(PickleTest, ArgumentsOfTheWrongKind) {
  EXPECT_EQ(ErrorOf("ccollections\nOrderedDict\nN\x85R."),
            "byte 27: collections.OrderedDict() takes nothing, a dictionary or a list of pairs, got None");
  EXPECT_THAT(ErrorOf("ccollections\nOrderedDict\n]N"
                      "a\x85R."),
              HasSubstr("a list of pairs, got a list"));
  EXPECT_THAT(ErrorOf("ccollections\nOrderedDict\nNR."), HasSubstr("takes a tuple of arguments, got None"));
  EXPECT_THAT(ErrorOf("ctorch\nSize\nNN\x86R."), HasSubstr("torch.Size() takes nothing or a sequence, got None, None"));
  EXPECT_EQ(
      ErrorOf("ctorch._utils\n_rebuild_tensor_v2\nK\x01\x85R."),
      "byte 36: torch._utils._rebuild_tensor_v2() takes a storage, an offset, a shape and strides, got an integer");
  EXPECT_THAT(ErrorOf("ctorch._utils\n_rebuild_tensor_v3\n)R."), HasSubstr("hooks and a type, got nothing"));
  EXPECT_THAT(ErrorOf("ctorch._utils\n_rebuild_parameter\nN\x85R."), HasSubstr("takes a tensor, got None"));
  EXPECT_THAT(ErrorOf("ctorch._tensor\n_rebuild_from_type_v2\nN\x85R."), HasSubstr("takes a function, torch.Tensor"));
  EXPECT_THAT(ErrorOf("ctorch\nFloatStorage\n)R."),
              HasSubstr("it wants to call torch.FloatStorage, which is no function"));
  const std::string id = "a persistent id must be (\"storage\", class, key, location, size), got ";
  EXPECT_EQ(ErrorOf("NQ."), "byte 1: " + id + "None");
  EXPECT_EQ(ErrorOf("(U\x06moduleNNNNtQ."), "byte 14: " + id + "a text, None, None, None, None");
  EXPECT_THAT(ErrorOf(PersistentId("K\x01") + "."), HasSubstr(id));
  EXPECT_THAT(ErrorOf(PersistentId("NNN\x87") + "."), HasSubstr(id + "None, None, None"));
  EXPECT_THAT(ErrorOf("(U\x07storagectorch\nHalfStorage\nU\x01kU\x03"
                      "cpuJ\xff\xff\xff\xfftQ."),
              HasSubstr(id));
}

// A function that makes itself from itself must not recurse.
TEST(PickleTest, RebuildFromTypeDoesNotNest) {
  EXPECT_THAT(ErrorOf("ctorch._tensor\n_rebuild_from_type_v2\nq\x01(h\x01"
                      "ctorch\nTensor\n)NtR."),
              HasSubstr("got a function or class, a function or class, a tuple, None"));
}

// ---- limits ----

TEST(PickleTest, DepthTakesNoStack) {
  const std::string deep = std::string(300'000, ']') + std::string(299'999, 'a') + ".";
  EXPECT_EQ(Read(deep).sequences.size(), 300'000u);
  EXPECT_THAT(ErrorOf(std::string(300'000, '(')), HasSubstr("cut off"));
  EXPECT_EQ(Read(")" + std::string(300'000, '\x85') + ".").sequences.size(), 300'001u);
}

TEST(PickleTest, OpcodesAreLimited) {
  EXPECT_EQ(ErrorOf(std::string(10'000'001, '(')), "byte 10000000: the pickle has more than 10000000 opcodes");
  EXPECT_EQ(ErrorOf(std::string(10'000'000, '(')),
            "byte 10000000: the pickle was cut off: it wants 1 bytes here, and 0 are left");
}

TEST(PickleTest, CopiesOfALongListAreLimited) {
  std::string bytes = "]q\x01(";
  for (int i = 0; i < 1000; ++i) bytes += "NN\x86";
  bytes += "eccollections\nOrderedDict\nq\x02";
  const std::string copy = "h\x02h\x01\x85R";
  EXPECT_EQ(Read(bytes + copy + ".").dicts[0].size(), 1000u);
  EXPECT_THAT(ErrorOf(bytes + copy + copy + copy + copy + "."),
              HasSubstr("collections.OrderedDict() copies more items than the pickle has bytes"));
}

}  // namespace
}  // namespace internal
}  // namespace lowbit
