#include "artifact/pickle_globals.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"

namespace lowbit {
namespace internal {
namespace {

struct TorchType {
  const char* storage;  // the storage's class; nullptr for the types that came after such classes
  ElementType element;
};

constexpr TorchType kTorchTypes[] = {
    {"DoubleStorage", {"float64", 8, DType::kF64}},
    {"FloatStorage", {"float32", 4, DType::kF32}},
    {"HalfStorage", {"float16", 2, DType::kF16}},
    {"BFloat16Storage", {"bfloat16", 2, DType::kBF16}},
    {"LongStorage", {"int64", 8, DType::kI64}},
    {"IntStorage", {"int32", 4, DType::kI32}},
    {"ShortStorage", {"int16", 2, DType::kI16}},
    {"CharStorage", {"int8", 1, DType::kI8}},
    {"ByteStorage", {"uint8", 1, DType::kU8}},
    {"BoolStorage", {"bool", 1, DType::kBool}},
    {"ComplexFloatStorage", {"complex64", 8, DType::kC64}},
    {"ComplexDoubleStorage", {"complex128", 16, std::nullopt}},
    {nullptr, {"complex32", 4, std::nullopt}},
    {nullptr, {"uint64", 8, DType::kU64}},
    {nullptr, {"uint32", 4, DType::kU32}},
    {nullptr, {"uint16", 2, DType::kU16}},
    {nullptr, {"float8_e4m3fn", 1, DType::kF8E4M3}},
    {nullptr, {"float8_e5m2", 1, DType::kF8E5M2}},
    {nullptr, {"float8_e8m0fnu", 1, DType::kF8E8M0}},
};

constexpr ElementType kPlainBytes = {"", 1, std::nullopt};

constexpr Global kGlobals[] = {
    {"collections.OrderedDict", GlobalKind::kDict, nullptr},
    {"collections.Counter", GlobalKind::kDict, nullptr},
    {"__builtin__.set", GlobalKind::kSequence, nullptr},
    {"__builtin__.frozenset", GlobalKind::kSequence, nullptr},
    {"builtins.set", GlobalKind::kSequence, nullptr},
    {"builtins.frozenset", GlobalKind::kSequence, nullptr},
    {"torch.Size", GlobalKind::kSequence, nullptr},
    {"torch.Tensor", GlobalKind::kTensor, nullptr},
    {"torch.nn.parameter.Parameter", GlobalKind::kTensor, nullptr},
    {"torch.nn.parameter.Buffer", GlobalKind::kTensor, nullptr},
    {"torch.storage.UntypedStorage", GlobalKind::kStorage, &kPlainBytes},
    {"torch.storage._UntypedStorage", GlobalKind::kStorage, &kPlainBytes},
    {"torch.UntypedStorage", GlobalKind::kStorage, &kPlainBytes},
    {"torch._utils._rebuild_tensor", GlobalKind::kRebuildTensor, nullptr},
    {"torch._utils._rebuild_tensor_v2", GlobalKind::kRebuildTensor, nullptr},
    {"torch._utils._rebuild_tensor_v3", GlobalKind::kRebuildTensorV3, nullptr},
    {"torch._utils._rebuild_parameter", GlobalKind::kRebuildParameter, nullptr},
    {"torch._utils._rebuild_parameter_with_state", GlobalKind::kRebuildParameter, nullptr},
    {"torch._tensor._rebuild_from_type_v2", GlobalKind::kRebuildFromType, nullptr},
    {"torch.device", GlobalKind::kOpaque, nullptr},
    {"_codecs.encode", GlobalKind::kOpaque, nullptr},  // bytes, in protocol 2
    {"numpy.dtype", GlobalKind::kOpaque, nullptr},
    {"numpy.core.multiarray.scalar", GlobalKind::kOpaque, nullptr},
    {"numpy._core.multiarray.scalar", GlobalKind::kOpaque, nullptr},
};

std::map<std::string, Global> AllGlobals() {
  std::map<std::string, Global> globals;
  for (const Global& global : kGlobals) globals.emplace(global.name, global);
  for (const TorchType& type : kTorchTypes) {
    const ElementType* const element = &type.element;
    globals.emplace(absl::StrCat("torch.", element->name), Global{"", GlobalKind::kElement, element});
    if (type.storage == nullptr) continue;
    // Before 1.6, what lay on a GPU was of a class of its own.
    for (const char* module : {"torch.", "torch.cuda."}) {
      globals.emplace(absl::StrCat(module, type.storage), Global{"", GlobalKind::kStorage, element});
    }
  }
  for (auto& [name, global] : globals) global.name = name;
  return globals;
}

}  // namespace

const Global* FindGlobal(absl::string_view name) {
  static const auto* const globals = new std::map<std::string, Global>(AllGlobals());
  const auto it = globals->find(std::string(name));
  return it == globals->end() ? nullptr : &it->second;
}

std::optional<absl::string_view> StorageClass(DType dtype) {
  for (const TorchType& type : kTorchTypes) {
    if (type.storage != nullptr && type.element.dtype == dtype) return type.storage;
  }
  return std::nullopt;
}

}  // namespace internal
}  // namespace lowbit
