#include "quant/quantizer_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/registry.h"
#include "base/status_macros.h"

namespace lowbit {
namespace {

struct Entry {
  const google::protobuf::Message* default_options;
  absl::StatusOr<std::unique_ptr<Quantizer>> (*factory)(const google::protobuf::Message& options);
};

Registry<Entry>& Quantizers() {
  static auto* const registry = new Registry<Entry>("quantizer");
  return *registry;
}

// "type.googleapis.com/lowbit.MinMaxOptions" -> "lowbit.MinMaxOptions".
absl::string_view MessageName(absl::string_view type_url) {
  const size_t slash = type_url.rfind('/');
  return slash == absl::string_view::npos ? type_url : type_url.substr(slash + 1);
}

// The options that `any` holds, or the defaults.
absl::StatusOr<std::unique_ptr<google::protobuf::Message>> UnpackOptions(absl::string_view name, const Entry& entry,
                                                                         const google::protobuf::Any* any) {
  std::unique_ptr<google::protobuf::Message> options(entry.default_options->New());
  if (any == nullptr || any->type_url().empty()) return options;
  const std::string wanted(entry.default_options->GetDescriptor()->full_name());
  const absl::string_view got = MessageName(any->type_url());
  if (got != wanted) {
    return FieldError("options", absl::StrCat("quantizer \"", name, "\" takes ", wanted, ", got ", got));
  }
  if (!any->UnpackTo(options.get())) {
    return FieldError("options", absl::StrCat("the bytes in the Any are no ", wanted));
  }
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Quantizer>> CreateQuantizer(absl::string_view name,
                                                           const google::protobuf::Any* options) {
  const auto entry = Quantizers().Find(name);
  if (!entry.ok()) return PrependField(entry.status(), "name");
  LOWBIT_ASSIGN_OR_RETURN(const auto unpacked, UnpackOptions(name, **entry, options));
  auto quantizer = (*entry)->factory(*unpacked);
  if (!quantizer.ok()) return PrependField(quantizer.status(), "options");
  QuantizerRegistration::SetName(name, quantizer->get());
  return quantizer;
}

std::vector<std::string> QuantizerNames() { return Quantizers().Names(); }

absl::StatusOr<const google::protobuf::Message*> QuantizerOptions(absl::string_view name) {
  LOWBIT_ASSIGN_OR_RETURN(const Entry* entry, Quantizers().Find(name));
  return entry->default_options;
}

bool QuantizerRegistration::Register(absl::string_view name, const google::protobuf::Message* default_options,
                                     Factory factory) {
  return Quantizers().Register(name, Entry{default_options, factory});
}

void QuantizerRegistration::SetName(absl::string_view name, Quantizer* quantizer) {
  quantizer->name_ = std::string(name);
}

}  // namespace lowbit
