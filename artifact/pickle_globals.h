#ifndef LOWBIT_ARTIFACT_PICKLE_GLOBALS_H_
#define LOWBIT_ARTIFACT_PICKLE_GLOBALS_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "artifact/tensor_blob.h"

namespace lowbit {
namespace internal {

// The Python functions and classes that a checkpoint's pickle may name. None of them is run: each stands for something
// that pickle.cc does by itself. A name that is not in this list is refused.
enum class GlobalKind {
  kDict,              // collections.OrderedDict: of nothing, a dictionary or a list of pairs
  kSequence,          // set, torch.Size: of nothing or a sequence
  kTensor,            // torch.Tensor: a class that is named, and made only from a tensor
  kStorage,           // torch.FloatStorage: the class of a storage, named in its persistent id
  kElement,           // torch.float32
  kRebuildTensor,     // of (storage, offset, shape, strides) and, in v2, (requires_grad, hooks[, metadata])
  kRebuildTensorV3,   // of (storage, offset, shape, strides, requires_grad, hooks, element[, metadata])
  kRebuildParameter,  // of (tensor, ...)
  kRebuildFromType,   // of (function, type, arguments, state): what `function` makes of `arguments`
  kOpaque,            // a NumPy number, bytes, a device: there, and of no use to us
};

struct ElementType {
  absl::string_view name;      // "float32"; "" for a storage of plain bytes
  int bytes;                   // of one element
  std::optional<DType> dtype;  // none: TensorBlob has no such type
};

struct Global {
  absl::string_view name;  // "torch._utils._rebuild_tensor_v2"
  GlobalKind kind;
  const ElementType* element;  // of kStorage and kElement
};

// nullptr: not in the list.
const Global* FindGlobal(absl::string_view name);

// "FloatStorage" for kF32: the class in module `torch` of a storage of this type, which PyTorch 1.6 knows already.
// nullopt: there is none.
std::optional<absl::string_view> StorageClass(DType dtype);

}  // namespace internal
}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_PICKLE_GLOBALS_H_
