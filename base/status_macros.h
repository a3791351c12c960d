#ifndef LOWBIT_BASE_STATUS_MACROS_H_
#define LOWBIT_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/base/optimization.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns the absl::Status `expression` from the current function unless it is OK. The function may return
// absl::Status or any absl::StatusOr<T>.
//
//   LOWBIT_RETURN_IF_ERROR(CheckParameters(graph, parameters));
#define LOWBIT_RETURN_IF_ERROR(...)                 \
  do {                                              \
    ::absl::Status lowbit_status_ = (__VA_ARGS__);  \
    if (ABSL_PREDICT_FALSE(!lowbit_status_.ok())) { \
      return lowbit_status_;                        \
    }                                               \
  } while (false)

// Evaluates an absl::StatusOr<T>; returns its status unless it is OK, else assigns (moves) the value to `lhs`, which
// may declare a variable. It expands to several statements: give it braces of its own after an `if`.
//
//   LOWBIT_ASSIGN_OR_RETURN(Graph graph, Graph::Create(std::move(layers)));
#define LOWBIT_ASSIGN_OR_RETURN(lhs, ...) \
  LOWBIT_INTERNAL_ASSIGN_OR_RETURN_(LOWBIT_INTERNAL_CONCAT_(lowbit_status_or_, __LINE__), lhs, (__VA_ARGS__))

#define LOWBIT_INTERNAL_ASSIGN_OR_RETURN_(status_or, lhs, expression) \
  auto status_or = expression;                                        \
  if (ABSL_PREDICT_FALSE(!status_or.ok())) {                          \
    return std::move(status_or).status();                             \
  }                                                                   \
  lhs = *std::move(status_or)

#define LOWBIT_INTERNAL_CONCAT_(a, b) LOWBIT_INTERNAL_CONCAT_INNER_(a, b)
#define LOWBIT_INTERNAL_CONCAT_INNER_(a, b) a##b

#endif  // LOWBIT_BASE_STATUS_MACROS_H_
