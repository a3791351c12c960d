#ifndef LOWBIT_MODEL_TORCH_BOUNDARY_H_
#define LOWBIT_MODEL_TORCH_BOUNDARY_H_

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lowbit {

// "LibTorch: <what it said, without its stack trace>".
absl::Status TorchError(const c10::Error& error);

namespace torch_boundary_internal {

// void -> Status, Status -> Status, StatusOr<T> -> StatusOr<T>, T -> StatusOr<T>.
template <typename T>
struct ResultOf {
  using type = absl::StatusOr<T>;
};
template <>
struct ResultOf<void> {
  using type = absl::Status;
};
template <>
struct ResultOf<absl::Status> {
  using type = absl::Status;
};
template <typename T>
struct ResultOf<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};

}  // namespace torch_boundary_internal

// The one place where LibTorch's exceptions become Status: runs `function`, which may return void, a value, an
// absl::Status or an absl::StatusOr, and turns an exception into an Internal error (out of memory: ResourceExhausted)
// with its message.
//
//   LOWBIT_ASSIGN_OR_RETURN(at::Tensor y, CatchTorch([&] { return at::matmul(a, b); }));
template <typename F>
auto CatchTorch(F&& function) {
  using Returned = std::decay_t<std::invoke_result_t<F>>;
  using Result = typename torch_boundary_internal::ResultOf<Returned>::type;
  try {
    if constexpr (std::is_void_v<Returned>) {
      std::forward<F>(function)();
      return Result();
    } else {
      return Result(std::forward<F>(function)());
    }
  } catch (const c10::Error& error) {
    return Result(TorchError(error));
  } catch (const std::bad_alloc&) {
    return Result(absl::ResourceExhaustedError("out of memory"));
  } catch (const std::exception& error) {
    return Result(absl::InternalError(error.what()));
  }
}

}  // namespace lowbit

#endif  // LOWBIT_MODEL_TORCH_BOUNDARY_H_
