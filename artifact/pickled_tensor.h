#ifndef LOWBIT_ARTIFACT_PICKLED_TENSOR_H_
#define LOWBIT_ARTIFACT_PICKLED_TENSOR_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "artifact/pickle.h"
#include "artifact/tensor_blob.h"

namespace lowbit {
namespace internal {

// The bytes of a whole storage, all `size` elements, in place.
using StorageReader = std::function<absl::StatusOr<absl::string_view>(const PickledStorage&)>;

// The tensor that the pickle describes, its elements gathered from its storage into row-major order. InvalidArgument
// where the numbers are no tensor's (a negative extent, strides of another rank) or lead out of the storage, for an
// element type that DType lacks, and where it would take more than *bytes_left, from which its size is taken.
absl::StatusOr<TensorBlob> AssembleTensor(const Pickle& pickle, const PickledTensor& tensor,
                                          const StorageReader& read_storage, uint64_t* bytes_left);

}  // namespace internal
}  // namespace lowbit

#endif  // LOWBIT_ARTIFACT_PICKLED_TENSOR_H_
