#include "artifact/pickle_calls.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "artifact/tensor_blob.h"
#include "base/status_macros.h"

namespace lowbit {
namespace internal {
namespace {

using Kind = PickleValue::Kind;

bool IsSequence(const PickleValue& value) { return value.kind == Kind::kTuple || value.kind == Kind::kList; }

bool IsGlobal(const PickleValue& value, GlobalKind kind) {
  return value.kind == Kind::kGlobal && value.global->kind == kind;
}

bool IsCount(const PickleValue& value) { return value.kind == Kind::kInteger && value.integer >= 0; }

// "a storage, an integer", for messages; a few of them.
std::string DescribeKinds(const std::vector<PickleValue>& values) {
  constexpr size_t kMost = 8;
  std::vector<absl::string_view> kinds;
  for (const PickleValue& value : values) {
    kinds.push_back(kinds.size() == kMost ? "..." : DescribeKind(value.kind));
    if (kinds.size() > kMost) break;
  }
  return kinds.empty() ? "nothing" : absl::StrJoin(kinds, ", ");
}

absl::Status WrongArguments(const Global& function, absl::string_view wanted, const std::vector<PickleValue>& got) {
  return absl::InvalidArgumentError(absl::StrCat(function.name, "() takes ", wanted, ", got ", DescribeKinds(got)));
}

PickleValue OfKind(Kind kind, size_t index) {
  PickleValue value;
  value.kind = kind;
  value.integer = static_cast<int64_t>(index);
  return value;
}

}  // namespace

absl::StatusOr<PickleValue> PickleCalls::Call(const PickleValue& function, const PickleValue& arguments) {
  if (function.kind != Kind::kGlobal) {
    return absl::InvalidArgumentError(absl::StrCat("it wants to call ", DescribeKind(function.kind)));
  }
  const Global& global = *function.global;
  if (arguments.kind != Kind::kTuple) return WrongArguments(global, "a tuple of arguments", {arguments});
  const Values& values = pickle_.sequences[arguments.integer];
  switch (global.kind) {
    case GlobalKind::kDict:
      return MakeDict(global, values);
    case GlobalKind::kSequence:
      return MakeSequence(global, values);
    case GlobalKind::kRebuildTensor:
    case GlobalKind::kRebuildTensorV3:
      return MakeTensor(global, values);
    case GlobalKind::kRebuildFromType:
      return MakeFromType(global, values);
    case GlobalKind::kTensor:
    case GlobalKind::kRebuildParameter:
      if (values.empty() || values[0].kind != Kind::kTensor) return WrongArguments(global, "a tensor", values);
      return values[0];
    case GlobalKind::kOpaque:
      return OfKind(Kind::kOpaque, 0);
    case GlobalKind::kStorage:
    case GlobalKind::kElement:
      return absl::InvalidArgumentError(absl::StrCat("it wants to call ", global.name, ", which is no function"));
  }
  return absl::InternalError("");  // no other value exists
}

absl::StatusOr<PickleValue> PickleCalls::MakeDict(const Global& function, const Values& arguments) {
  constexpr char kWanted[] = "nothing, a dictionary or a list of pairs";
  if (arguments.size() > 1) return WrongArguments(function, kWanted, arguments);
  if (arguments.size() == 1 && arguments[0].kind == Kind::kDict) return arguments[0];
  std::vector<std::pair<PickleValue, PickleValue>> dict;
  if (arguments.size() == 1) {  // by Python 2
    if (!IsSequence(arguments[0])) return WrongArguments(function, kWanted, arguments);
    const Values& pairs = pickle_.sequences[arguments[0].integer];
    // A pickle that repeats a long list a thousand times would take a thousand times its memory.
    if (pairs.size() > copies_left_) {
      return absl::InvalidArgumentError(absl::StrCat(function.name, "() copies more items than the pickle has bytes"));
    }
    copies_left_ -= pairs.size();
    for (const PickleValue& pair : pairs) {
      if (!IsSequence(pair) || pickle_.sequences[pair.integer].size() != 2) {
        return WrongArguments(function, kWanted, arguments);
      }
      dict.emplace_back(pickle_.sequences[pair.integer][0], pickle_.sequences[pair.integer][1]);
    }
  }
  pickle_.dicts.push_back(std::move(dict));
  return OfKind(Kind::kDict, pickle_.dicts.size() - 1);
}

absl::StatusOr<PickleValue> PickleCalls::MakeSequence(const Global& function, const Values& arguments) {
  if (arguments.size() > 1 || (arguments.size() == 1 && !IsSequence(arguments[0]))) {
    return WrongArguments(function, "nothing or a sequence", arguments);
  }
  if (arguments.size() == 1) return arguments[0];
  pickle_.sequences.emplace_back();
  return OfKind(Kind::kList, pickle_.sequences.size() - 1);
}

absl::StatusOr<PickleValue> PickleCalls::MakeTensor(const Global& function, const Values& arguments) {
  const bool is_v3 = function.kind == GlobalKind::kRebuildTensorV3;
  if (arguments.size() < (is_v3 ? 7 : 4) || arguments[0].kind != Kind::kStorage ||
      arguments[1].kind != Kind::kInteger || !IsSequence(arguments[2]) || !IsSequence(arguments[3]) ||
      (is_v3 && !IsGlobal(arguments[6], GlobalKind::kElement))) {
    return WrongArguments(function,
                          is_v3 ? "a storage, an offset, a shape, strides, requires_grad, hooks and a type"
                                : "a storage, an offset, a shape and strides",
                          arguments);
  }
  PickledTensor tensor;
  tensor.storage = static_cast<size_t>(arguments[0].integer);
  tensor.element = is_v3 ? arguments[6].global->element : pickle_.storages[tensor.storage].element;
  tensor.offset = arguments[1];
  tensor.shape = arguments[2];
  tensor.strides = arguments[3];
  const size_t metadata = is_v3 ? 7 : 6;
  tensor.has_metadata =
      arguments.size() > metadata && arguments[metadata].kind != Kind::kNone &&
      !(arguments[metadata].kind == Kind::kDict && pickle_.dicts[arguments[metadata].integer].empty());
  pickle_.tensors.push_back(tensor);
  return OfKind(Kind::kTensor, pickle_.tensors.size() - 1);
}

absl::StatusOr<PickleValue> PickleCalls::MakeFromType(const Global& function, const Values& arguments) {
  if (arguments.size() != 4 || arguments[0].kind != Kind::kGlobal || !IsGlobal(arguments[1], GlobalKind::kTensor) ||
      IsGlobal(arguments[0], GlobalKind::kRebuildFromType)) {
    return WrongArguments(function, "a function, torch.Tensor, arguments and a state", arguments);
  }
  return Call(arguments[0], arguments[2]);
}

absl::StatusOr<PickleValue> PickleCalls::LoadPersistent(const PickleValue& id) {
  const auto invalid = [](const Values& got) {
    return absl::InvalidArgumentError(
        absl::StrCat("a persistent id must be (\"storage\", class, key, location, size), got ", DescribeKinds(got)));
  };
  if (id.kind != Kind::kTuple) return invalid({id});
  const Values& values = pickle_.sequences[id.integer];
  if (values.size() < 5 || values.size() > 6 || values[0].text != "storage" ||
      !IsGlobal(values[1], GlobalKind::kStorage) || values[2].kind != Kind::kText || !IsCount(values[4])) {
    return invalid(values);
  }
  PickledStorage storage;
  storage.element = values[1].global->element;
  storage.key = values[2].text;
  storage.size = storage.view_size = values[4].integer;
  if (values.size() == 6 && values[5].kind != Kind::kNone) {
    if (values[5].kind != Kind::kTuple) return invalid(values);
    const Values& view = pickle_.sequences[values[5].integer];
    if (view.size() != 3 || !IsCount(view[1]) || !IsCount(view[2])) return invalid(view);
    storage.view_begin = view[1].integer;
    storage.view_size = view[2].integer;
  }
  pickle_.storages.push_back(storage);
  return OfKind(Kind::kStorage, pickle_.storages.size() - 1);
}

}  // namespace internal
}  // namespace lowbit
