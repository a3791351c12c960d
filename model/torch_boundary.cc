#include "model/torch_boundary.h"

#include "absl/strings/str_cat.h"

namespace lowbit {

absl::Status TorchError(const c10::Error& error) {
  return absl::InternalError(absl::StrCat("LibTorch: ", error.what_without_backtrace()));
}

}  // namespace lowbit
