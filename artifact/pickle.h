#ifndef LOWBIT_ARTIFACT_PICKLE_H_
#define LOWBIT_ARTIFACT_PICKLE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "artifact/pickle_globals.h"

namespace lowbit {
namespace internal {

// A value of a pickle. What is more than a number or a text lies in one of Pickle's vectors, so that values may share
// and even contain each other, as Python's do, and yet be freed without recursion.
struct PickleValue {
  enum class Kind {
    kNone,
    kBool,     // integer
    kInteger,  // integer; those of more than 64 bits are kOpaque
    kFloat,    // which one is never asked
    kText,     // text
    kTuple,    // sequences[integer]
    kList,     // sequences[integer]; sets too
    kDict,     // dicts[integer]
    kGlobal,   // global
    kStorage,  // storages[integer]
    kTensor,   // tensors[integer]
    kOpaque,   // bytes, a device, a NumPy number
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  absl::string_view text;  // lies in the pickle's bytes
  const Global* global = nullptr;
};

// For messages: "a text", "a dictionary".
absl::string_view DescribeKind(PickleValue::Kind kind);

// What a persistent id says: where the numbers of some tensors are to be found.
struct PickledStorage {
  const ElementType* element = nullptr;
  absl::string_view key;  // the entry "<folder>/data/<key>", or one of the list after a legacy checkpoint's pickle
  int64_t size = 0;       // elements; not negative
  // The part of it that this is, in elements: all of it since PyTorch 0.4. Not checked against `size`.
  int64_t view_begin = 0;
  int64_t view_size = 0;
};

// What a call of _rebuild_tensor says, unchecked: a checkpoint may hold tensors that nobody wants.
struct PickledTensor {
  size_t storage = 0;                    // storages[storage]
  const ElementType* element = nullptr;  // by default the storage's
  PickleValue offset;                    // in elements
  PickleValue shape;                     // a kTuple or a kList
  PickleValue strides;                   // a kTuple or a kList; in elements
  bool has_metadata = false;             // flags that change its numbers: negative, conjugate
};

struct Pickle {
  PickleValue root;
  size_t end = 0;  // of the pickle in its bytes
  std::vector<std::vector<PickleValue>> sequences;
  std::vector<std::vector<std::pair<PickleValue, PickleValue>>> dicts;  // in the order in which they were filled
  std::vector<PickledStorage> storages;
  std::vector<PickledTensor> tensors;
};

// Reads the pickle that begins at `begin`: protocol 2, as torch.save() writes it, up to 5. This is an interpreter of
// the opcodes that make numbers, texts, containers and tensors; it has no way to run anything. A function or class that
// FindGlobal() does not know is refused by its name, an opcode of other purposes by its number. An error is an
// InvalidArgument that begins with the offset in `bytes`: `byte 27: ...`.
//
// No recursion; memory is proportional to the bytes read, and ends with an error at ten million opcodes. `bytes` must
// outlive the result.
absl::StatusOr<Pickle> ReadPickle(absl::string_view bytes, size_t begin);

}  // namespace internal
}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_PICKLE_H_
