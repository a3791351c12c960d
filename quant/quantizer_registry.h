#ifndef LOWBIT_QUANT_QUANTIZER_REGISTRY_H_
#define LOWBIT_QUANT_QUANTIZER_REGISTRY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/message.h"
#include "quant/quantizer.h"

namespace lowbit {

// Quantizers by name. A plugin registers itself, in its .cc file, outside of any function:
//
//   LOWBIT_REGISTER_QUANTIZER("min_max", MinMaxOptions, MinMax);
//
// `Options` is a protobuf message, in proto2 syntax so that every field can carry the default that --list shows.
// `Class` is a Quantizer with
//   static absl::StatusOr<std::unique_ptr<Quantizer>> Create(const Options& options);
// which returns FieldError("<field>", ...) for a value that it refuses.
#define LOWBIT_REGISTER_QUANTIZER(name, Options, Class)          \
  [[maybe_unused]] static const bool lowbit_registered_##Class = \
      ::lowbit::QuantizerRegistration::Register<Options, Class>(name)

// The quantizer of this name. `options` is an Any that holds the message registered with the name; null or without a
// type means the defaults. Errors, as fields of a config's QuantizerSpec:
//   "name":           NotFound, with the nearest known name
//   "options":        the Any holds another message, or bytes that are none
//   "options.<field>": what Create() refused
absl::StatusOr<std::unique_ptr<Quantizer>> CreateQuantizer(absl::string_view name,
                                                           const google::protobuf::Any* options = nullptr);

// All registered names, sorted.
std::vector<std::string> QuantizerNames();

// The options message of a quantizer with every field at its default; its descriptor knows fields and defaults. It
// lives forever. NotFound as above.
absl::StatusOr<const google::protobuf::Message*> QuantizerOptions(absl::string_view name);

// Behind the macro.
class QuantizerRegistration {
 public:
  template <class Options, class Class>
  static bool Register(absl::string_view name) {
    return Register(name, &Options::default_instance(), [](const google::protobuf::Message& options) {
      return Class::Create(static_cast<const Options&>(options));
    });
  }

 private:
  using Factory = absl::StatusOr<std::unique_ptr<Quantizer>> (*)(const google::protobuf::Message& options);

  static bool Register(absl::string_view name, const google::protobuf::Message* default_options, Factory factory);
  static void SetName(absl::string_view name, Quantizer* quantizer);

  friend absl::StatusOr<std::unique_ptr<Quantizer>> CreateQuantizer(absl::string_view, const google::protobuf::Any*);
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_QUANTIZER_REGISTRY_H_
