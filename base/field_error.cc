#include "base/field_error.h"

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lowbit {
namespace {

constexpr char kFieldPayload[] = "lowbit/field";

}  // namespace

absl::Status FieldError(absl::string_view field, absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kFieldPayload, absl::Cord(field));
  return status;
}

absl::Status CheckFieldRange(absl::string_view field, double value, double low, double high, absl::string_view wanted) {
  if (value >= low && value <= high) return absl::OkStatus();
  return FieldError(field, absl::StrFormat("must be %s, got %g", wanted, value));
}

absl::Status PrependField(absl::Status status, absl::string_view prefix) {
  if (status.ok()) return status;
  const std::string inner = ErrorField(status).value_or("");
  const bool needs_dot = !prefix.empty() && !inner.empty() && !absl::StartsWith(inner, "[");
  status.SetPayload(kFieldPayload, absl::Cord(absl::StrCat(prefix, needs_dot ? "." : "", inner)));
  return status;
}

std::optional<std::string> ErrorField(const absl::Status& status) {
  const auto payload = status.GetPayload(kFieldPayload);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

}  // namespace lowbit
