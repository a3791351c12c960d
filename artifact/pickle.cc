#include "artifact/pickle.h"

#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "artifact/little_endian.h"
#include "artifact/pickle_calls.h"
#include "artifact/tensor_blob.h"
#include "base/status_macros.h"

namespace lowbit {
namespace internal {
namespace {

using Kind = PickleValue::Kind;

// The opcodes by the names of Python's pickletools.
enum Opcode : unsigned char {
  kMark = '(',
  kStop = '.',
  kNone = 'N',
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kBinFloat = 'G',
  kShortBinString = 'U',  // str of Python 2
  kBinString = 'T',
  kBinUnicode = 'X',
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kBinBytes8 = 0x8e,
  kByteArray8 = 0x96,
  kEmptyTuple = ')',
  kTuple = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kEmptyList = ']',
  kAppend = 'a',
  kAppends = 'e',
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kEmptyDict = '}',
  kSetItem = 's',
  kSetItems = 'u',
  kGlobal = 'c',
  kStackGlobal = 0x93,
  kReduce = 'R',
  kNewObj = 0x81,
  kBuild = 'b',
  kBinPersId = 'Q',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kMemoize = 0x94,
  kProto = 0x80,
  kFrame = 0x95,
};

// An opcode makes at most one value, which takes some hundred bytes. A thousand tensors take 35,000.
constexpr int64_t kMostOpcodes = 10'000'000;

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

PickleValue Integer(int64_t integer) {
  PickleValue value;
  value.kind = Kind::kInteger;
  value.integer = integer;
  return value;
}

PickleValue OfKind(Kind kind, int64_t integer = 0) {
  PickleValue value;
  value.kind = kind;
  value.integer = integer;
  return value;
}

class PickleReader {
 public:
  PickleReader(absl::string_view bytes, size_t begin)
      : bytes_(bytes), position_(begin), calls_(bytes.size(), &pickle_) {}

  absl::StatusOr<Pickle> Read() {
    for (bool stopped = false; !stopped;) {
      const size_t begin = position_;
      const absl::Status status = Step(&stopped);
      if (!status.ok()) return absl::Status(status.code(), absl::StrCat("byte ", begin, ": ", status.message()));
    }
    pickle_.end = position_;
    return std::move(pickle_);
  }

 private:
  // ---- the bytes ----

  absl::StatusOr<absl::string_view> Take(uint64_t count) {
    if (count > bytes_.size() - position_) {
      return Invalid(absl::StrCat("the pickle was cut off: it wants ", count, " bytes here, and ",
                                  bytes_.size() - position_, " are left"));
    }
    const absl::string_view taken = bytes_.substr(position_, count);
    position_ += count;
    return taken;
  }

  absl::StatusOr<uint64_t> TakeNumber(int count) {
    LOWBIT_ASSIGN_OR_RETURN(const absl::string_view taken, Take(count));
    return ReadLittleEndian(taken, 0, count);
  }

  // Bytes after their own count, which takes `count` bytes.
  absl::StatusOr<absl::string_view> TakeCounted(int count) {
    LOWBIT_ASSIGN_OR_RETURN(const uint64_t size, TakeNumber(count));
    return Take(size);
  }

  absl::StatusOr<absl::string_view> TakeLine() {
    const size_t end = bytes_.find('\n', position_);
    if (end == absl::string_view::npos) return Invalid("the pickle was cut off within a name");
    const absl::string_view line = bytes_.substr(position_, end - position_);
    position_ = end + 1;
    return line;
  }

  // ---- the stack ----

  size_t FreeCount() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }

  // Nothing below the last mark may be touched.
  absl::Status Need(size_t count) const {
    if (FreeCount() >= count) return absl::OkStatus();
    return Invalid(absl::StrCat("the pickle is damaged: it takes ", count, " values, and there are ", FreeCount()));
  }

  absl::Status Push(const PickleValue& value) {
    stack_.push_back(value);
    return absl::OkStatus();
  }

  absl::StatusOr<PickleValue> Pop() {
    LOWBIT_RETURN_IF_ERROR(Need(1));
    const PickleValue value = stack_.back();
    stack_.pop_back();
    return value;
  }

  // The last `count` values, in order.
  absl::StatusOr<std::vector<PickleValue>> PopMany(size_t count) {
    LOWBIT_RETURN_IF_ERROR(Need(count));
    std::vector<PickleValue> values(stack_.end() - count, stack_.end());
    stack_.resize(stack_.size() - count);
    return values;
  }

  // The values after the last mark, in order.
  absl::StatusOr<std::vector<PickleValue>> PopToMark() {
    if (marks_.empty()) return Invalid("the pickle is damaged: there is no mark to go back to");
    LOWBIT_ASSIGN_OR_RETURN(std::vector<PickleValue> values, PopMany(FreeCount()));
    marks_.pop_back();
    return values;
  }

  absl::Status PushSequence(Kind kind, absl::StatusOr<std::vector<PickleValue>> values) {
    if (!values.ok()) return values.status();
    pickle_.sequences.push_back(*std::move(values));
    return Push(OfKind(kind, static_cast<int64_t>(pickle_.sequences.size()) - 1));
  }

  // ---- the opcodes ----

  absl::Status Step(bool* stopped) {
    LOWBIT_ASSIGN_OR_RETURN(const uint64_t opcode, TakeNumber(1));
    if (++opcode_count_ > kMostOpcodes) {
      return Invalid(absl::StrCat("the pickle has more than ", kMostOpcodes, " opcodes"));
    }
    switch (opcode) {
      case kProto: {
        LOWBIT_ASSIGN_OR_RETURN(const uint64_t protocol, TakeNumber(1));
        return protocol <= 5 ? absl::OkStatus()
                             : Invalid(absl::StrCat("pickle protocol ", protocol, ", wanted 2 to 5"));
      }
      case kFrame:
        return Take(8).status();
      case kMark:
        marks_.push_back(stack_.size());
        return absl::OkStatus();
      case kStop: {
        LOWBIT_ASSIGN_OR_RETURN(pickle_.root, Pop());
        *stopped = true;
        return absl::OkStatus();
      }
      default:
        return StepLiteral(static_cast<unsigned char>(opcode));
    }
  }

  absl::Status StepLiteral(unsigned char opcode) {
    switch (opcode) {
      case kNone:
        return Push(PickleValue());
      case kNewTrue:
        return Push(OfKind(Kind::kBool, 1));
      case kNewFalse:
        return Push(OfKind(Kind::kBool, 0));
      case kBinInt: {
        LOWBIT_ASSIGN_OR_RETURN(const uint64_t number, TakeNumber(4));
        return Push(Integer(static_cast<int32_t>(number)));
      }
      case kBinInt1:
      case kBinInt2: {
        LOWBIT_ASSIGN_OR_RETURN(const uint64_t number, TakeNumber(opcode == kBinInt1 ? 1 : 2));
        return Push(Integer(static_cast<int64_t>(number)));
      }
      case kLong1:
        return PushLong(TakeCounted(1));
      case kLong4:
        return PushLong(TakeCounted(4));
      case kBinFloat: {
        LOWBIT_RETURN_IF_ERROR(Take(8).status());
        return Push(OfKind(Kind::kFloat));
      }
      case kShortBinString:
      case kShortBinUnicode:
        return PushText(TakeCounted(1));
      case kBinString:
      case kBinUnicode:
        return PushText(TakeCounted(4));
      case kBinUnicode8:
        return PushText(TakeCounted(8));
      case kShortBinBytes:
        return PushOpaque(TakeCounted(1));
      case kBinBytes:
        return PushOpaque(TakeCounted(4));
      case kBinBytes8:
      case kByteArray8:
        return PushOpaque(TakeCounted(8));
      default:
        return StepContainer(opcode);
    }
  }

  // Two's complement of any length.
  absl::Status PushLong(absl::StatusOr<absl::string_view> bytes) {
    if (!bytes.ok()) return bytes.status();
    if (bytes->size() > 8) return Push(OfKind(Kind::kOpaque));
    const int size = static_cast<int>(bytes->size());
    uint64_t number = ReadLittleEndian(*bytes, 0, size);
    const bool is_negative = size > 0 && (static_cast<unsigned char>(bytes->back()) & 0x80) != 0;
    if (is_negative && size < 8) number |= ~uint64_t{0} << (8 * size);
    return Push(Integer(static_cast<int64_t>(number)));
  }

  absl::Status PushText(absl::StatusOr<absl::string_view> text) {
    if (!text.ok()) return text.status();
    PickleValue value = OfKind(Kind::kText);
    value.text = *text;
    return Push(value);
  }

  absl::Status PushOpaque(const absl::StatusOr<absl::string_view>& bytes) {
    return bytes.ok() ? Push(OfKind(Kind::kOpaque)) : bytes.status();
  }

  absl::Status StepContainer(unsigned char opcode) {
    switch (opcode) {
      case kEmptyTuple:
        return PushSequence(Kind::kTuple, PopMany(0));
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return PushSequence(Kind::kTuple, PopMany(opcode - kTuple1 + 1));
      case kTuple:
        return PushSequence(Kind::kTuple, PopToMark());
      case kEmptyList:
      case kEmptySet:
        return PushSequence(Kind::kList, PopMany(0));
      case kFrozenSet:
        return PushSequence(Kind::kList, PopToMark());
      case kEmptyDict:
        pickle_.dicts.emplace_back();
        return Push(OfKind(Kind::kDict, static_cast<int64_t>(pickle_.dicts.size()) - 1));
      case kAppend:
        return Append(PopMany(1));
      case kAppends:
      case kAddItems:
        return Append(PopToMark());
      case kSetItem:
        return SetItems(PopMany(2));
      case kSetItems:
        return SetItems(PopToMark());
      default:
        return StepMemo(opcode);
    }
  }

  absl::Status Append(const absl::StatusOr<std::vector<PickleValue>>& values) {
    if (!values.ok()) return values.status();
    LOWBIT_RETURN_IF_ERROR(Need(1));
    const PickleValue& list = stack_.back();
    if (list.kind != Kind::kList) return Invalid(absl::StrCat("it wants to append to ", DescribeKind(list.kind)));
    std::vector<PickleValue>& sequence = pickle_.sequences[list.integer];
    sequence.insert(sequence.end(), values->begin(), values->end());
    return absl::OkStatus();
  }

  absl::Status SetItems(const absl::StatusOr<std::vector<PickleValue>>& values) {
    if (!values.ok()) return values.status();
    LOWBIT_RETURN_IF_ERROR(Need(1));
    const PickleValue& target = stack_.back();
    if (target.kind != Kind::kDict)
      return Invalid(absl::StrCat("it wants to set items of ", DescribeKind(target.kind)));
    if (values->size() % 2 != 0) return Invalid("the pickle is damaged: a dictionary's last key has no value");
    auto& dict = pickle_.dicts[target.integer];
    for (size_t i = 0; i < values->size(); i += 2) dict.emplace_back((*values)[i], (*values)[i + 1]);
    return absl::OkStatus();
  }

  absl::Status StepMemo(unsigned char opcode) {
    switch (opcode) {
      case kBinGet:
      case kLongBinGet: {
        LOWBIT_ASSIGN_OR_RETURN(const uint64_t index, TakeNumber(opcode == kBinGet ? 1 : 4));
        const auto it = memo_.find(index);
        if (it == memo_.end()) return Invalid(absl::StrCat("the pickle is damaged: memo ", index, " is not set"));
        return Push(it->second);
      }
      case kBinPut:
      case kLongBinPut: {
        LOWBIT_ASSIGN_OR_RETURN(const uint64_t index, TakeNumber(opcode == kBinPut ? 1 : 4));
        LOWBIT_RETURN_IF_ERROR(Need(1));
        memo_[index] = stack_.back();
        return absl::OkStatus();
      }
      case kMemoize:
        LOWBIT_RETURN_IF_ERROR(Need(1));
        memo_.emplace(memo_.size(), stack_.back());
        return absl::OkStatus();
      default:
        return StepCall(opcode);
    }
  }

  absl::Status StepCall(unsigned char opcode) {
    switch (opcode) {
      case kGlobal: {
        LOWBIT_ASSIGN_OR_RETURN(const absl::string_view module, TakeLine());
        LOWBIT_ASSIGN_OR_RETURN(const absl::string_view name, TakeLine());
        return PushGlobal(module, name);
      }
      case kStackGlobal: {
        LOWBIT_ASSIGN_OR_RETURN(const std::vector<PickleValue> values, PopMany(2));
        if (values[0].kind != Kind::kText || values[1].kind != Kind::kText) {
          return Invalid("the pickle is damaged: a function's name is no text");
        }
        return PushGlobal(values[0].text, values[1].text);
      }
      case kReduce:
      case kNewObj: {
        LOWBIT_ASSIGN_OR_RETURN(const std::vector<PickleValue> values, PopMany(2));
        LOWBIT_ASSIGN_OR_RETURN(const PickleValue result, calls_.Call(values[0], values[1]));
        return Push(result);
      }
      case kBuild: {
        // Attributes: an OrderedDict that is a state_dict() has a list of module versions.
        LOWBIT_RETURN_IF_ERROR(Pop().status());
        LOWBIT_RETURN_IF_ERROR(Need(1));
        const Kind kind = stack_.back().kind;
        if (kind == Kind::kDict || kind == Kind::kList || kind == Kind::kOpaque) return absl::OkStatus();
        return Invalid(absl::StrCat("it wants to set attributes of ", DescribeKind(kind)));
      }
      case kBinPersId: {
        LOWBIT_ASSIGN_OR_RETURN(const PickleValue id, Pop());
        LOWBIT_ASSIGN_OR_RETURN(const PickleValue storage, calls_.LoadPersistent(id));
        return Push(storage);
      }
      default:
        return Invalid(absl::StrCat("opcode 0x", absl::Hex(opcode, absl::kZeroPad2), ", which no checkpoint needs"));
    }
  }

  absl::Status PushGlobal(absl::string_view module, absl::string_view name) {
    const std::string full_name = absl::StrCat(module, ".", name);
    PickleValue value = OfKind(Kind::kGlobal);
    value.global = FindGlobal(full_name);
    if (value.global != nullptr) return Push(value);
    return Invalid(absl::StrCat("it wants to call \"", Excerpt(full_name),
                                "\", which makes no tensor, container or number; nothing was run (of a model, save its "
                                "state_dict())"));
  }

  const absl::string_view bytes_;
  size_t position_;
  int64_t opcode_count_ = 0;
  Pickle pickle_;
  PickleCalls calls_;
  std::vector<PickleValue> stack_;
  std::vector<size_t> marks_;  // sizes of stack_
  std::unordered_map<uint64_t, PickleValue> memo_;
};

}  // namespace

absl::string_view DescribeKind(PickleValue::Kind kind) {
  switch (kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "a truth value";
    case Kind::kInteger:
      return "an integer";
    case Kind::kFloat:
      return "a float";
    case Kind::kText:
      return "a text";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kList:
      return "a list";
    case Kind::kDict:
      return "a dictionary";
    case Kind::kGlobal:
      return "a function or class";
    case Kind::kStorage:
      return "a storage";
    case Kind::kTensor:
      return "a tensor";
    case Kind::kOpaque:
      return "bytes or the like";
  }
  return "";  // no other value exists
}

absl::StatusOr<Pickle> ReadPickle(absl::string_view bytes, size_t begin) { return PickleReader(bytes, begin).Read(); }

}  // namespace internal
}  // namespace lowbit
