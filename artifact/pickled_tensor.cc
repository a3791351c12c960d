#include "artifact/pickled_tensor.h"

#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lowbit {
namespace internal {
namespace {

constexpr size_t kMostDimensions = 64;

// A shape or strides.
absl::StatusOr<std::vector<int64_t>> Extents(const Pickle& pickle, const PickleValue& value, absl::string_view what) {
  const std::vector<PickleValue>& values = pickle.sequences[value.integer];
  if (values.size() > kMostDimensions) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " of ", values.size(), " dimensions, and the limit is ", kMostDimensions));
  }
  std::vector<int64_t> extents;
  for (const PickleValue& extent : values) {
    if (extent.kind != PickleValue::Kind::kInteger) {
      return absl::InvalidArgumentError(absl::StrCat(what, " must hold integers, got ", DescribeKind(extent.kind)));
    }
    extents.push_back(extent.integer);
  }
  for (const int64_t extent : extents) {
    if (extent < 0) {
      return absl::InvalidArgumentError(absl::StrCat(what, " ", DescribeShape(extents), " has a negative number"));
    }
  }
  return extents;
}

// Whether every element, from `offset` on, lies among the storage's `size`. No extent is 0.
bool StaysWithin(int64_t offset, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides, int64_t size) {
  int64_t last = offset;
  for (size_t i = 0; i < shape.size(); ++i) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(shape[i] - 1, strides[i], &reach) || __builtin_add_overflow(last, reach, &last)) {
      return false;
    }
  }
  return last < size;
}

// How many of the last dimensions lie in the storage as they lie in the result.
size_t ContiguousDimensions(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides, int64_t* count) {
  size_t dimensions = 0;
  *count = 1;
  for (size_t i = shape.size(); i-- > 0 && (shape[i] == 1 || strides[i] == *count); ++dimensions) *count *= shape[i];
  return dimensions;
}

// Copies the elements in row-major order, runs of contiguous ones at a time. Everything was checked; no extent is 0.
void Gather(const char* first, size_t element_bytes, const std::vector<int64_t>& shape,
            const std::vector<int64_t>& strides, std::string* bytes) {
  int64_t run = 1;
  const size_t outer = shape.size() - ContiguousDimensions(shape, strides, &run);
  const size_t run_bytes = static_cast<size_t>(run) * element_bytes;
  std::vector<int64_t> index(outer, 0);
  int64_t position = 0;  // sum of index[i] * strides[i]
  for (size_t filled = 0;; filled += run_bytes) {
    std::memcpy(&(*bytes)[filled], first + static_cast<size_t>(position) * element_bytes, run_bytes);
    size_t i = outer;
    for (; i > 0 && index[i - 1] == shape[i - 1] - 1; --i) {
      position -= index[i - 1] * strides[i - 1];
      index[i - 1] = 0;
    }
    if (i == 0) return;
    ++index[i - 1];
    position += strides[i - 1];
  }
}

// The part of the storage that the tensor may use.
absl::StatusOr<absl::string_view> ReadView(const PickledStorage& storage, const StorageReader& read_storage) {
  LOWBIT_ASSIGN_OR_RETURN(const absl::string_view bytes, read_storage(storage));
  if (storage.view_begin > storage.size || storage.view_size > storage.size - storage.view_begin) {
    return absl::InvalidArgumentError(absl::StrCat("its storage is ", storage.view_size, " elements from ",
                                                   storage.view_begin, " on of storage \"", Excerpt(storage.key),
                                                   "\", which has ", storage.size));
  }
  return bytes.substr(static_cast<size_t>(storage.view_begin) * storage.element->bytes,
                      static_cast<size_t>(storage.view_size) * storage.element->bytes);
}

absl::Status CheckType(const PickledTensor& tensor) {
  if (!tensor.element->dtype.has_value()) {
    return absl::InvalidArgumentError(
        tensor.element->name.empty()
            ? "its storage has no element type"
            : absl::StrCat("its elements are ", tensor.element->name, ", which has no counterpart here"));
  }
  if (tensor.has_metadata) {
    return absl::InvalidArgumentError(
        "it is marked as negative or conjugate: save what resolve_neg() or resolve_conj() returns");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TensorBlob> AssembleTensor(const Pickle& pickle, const PickledTensor& tensor,
                                          const StorageReader& read_storage, uint64_t* bytes_left) {
  LOWBIT_RETURN_IF_ERROR(CheckType(tensor));
  TensorBlob blob;
  blob.dtype = *tensor.element->dtype;
  LOWBIT_ASSIGN_OR_RETURN(blob.shape, Extents(pickle, tensor.shape, "shape"));
  LOWBIT_ASSIGN_OR_RETURN(const std::vector<int64_t> strides, Extents(pickle, tensor.strides, "strides"));
  if (strides.size() != blob.shape.size()) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", DescribeShape(blob.shape), " and strides ",
                                                   DescribeShape(strides), " have different lengths"));
  }
  LOWBIT_ASSIGN_OR_RETURN(const uint64_t size, ByteCount(blob.dtype, blob.shape));
  const PickledStorage& storage = pickle.storages[tensor.storage];
  LOWBIT_ASSIGN_OR_RETURN(const absl::string_view view, ReadView(storage, read_storage));
  const int64_t offset = tensor.offset.integer;
  const size_t element_bytes = static_cast<size_t>(tensor.element->bytes);
  const int64_t capacity = static_cast<int64_t>(view.size() / element_bytes);
  if (offset < 0 || (size > 0 && !StaysWithin(offset, blob.shape, strides, capacity))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "shape ", DescribeShape(blob.shape), " with strides ", DescribeShape(strides), " from element ", offset,
        " on leads out of storage \"", Excerpt(storage.key), "\", which has ", capacity, " elements"));
  }
  if (size == 0) return blob;
  if (size > *bytes_left) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", DescribeShape(blob.shape), " with strides ",
                                                   DescribeShape(strides), " repeats its storage: with it the tensors ",
                                                   "would take far more memory than the file"));
  }
  *bytes_left -= size;
  blob.bytes.resize(size);
  Gather(view.data() + static_cast<size_t>(offset) * element_bytes, element_bytes, blob.shape, strides, &blob.bytes);
  return blob;
}

}  // namespace internal
}  // namespace lowbit
