#ifndef LOWBIT_BASE_REGISTRY_H_
#define LOWBIT_BASE_REGISTRY_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "base/did_you_mean.h"

namespace lowbit {

// Names to entries of type T (a factory and what else is to be known of the named thing). One function holds the one
// registry of a kind, so that registrations from the initialisation of any translation unit find it built:
//
//   Registry<QuantizerEntry>& Quantizers() {
//     static auto* const registry = new Registry<QuantizerEntry>("quantizer");
//     return *registry;
//   }
//   static const bool registered = Quantizers().Register("min_max", {...});
//
// Registration belongs to static initialisation, before main() and before any thread; from then on a registry is only
// read, from any thread.
template <class T>
class Registry {
 public:
  // `kind` is what messages call an entry: "quantizer".
  explicit Registry(std::string kind) : kind_(std::move(kind)) {}
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Adds an entry and returns true, so that a static variable's initialiser can call it. An empty name, or one that is
  // already taken, ends the process: two plugins under one name would otherwise depend on the link order.
  bool Register(absl::string_view name, T entry) {
    LOWBIT_CHECK(!name.empty(), "a ", kind_, " was registered without a name");
    const bool inserted = entries_.emplace(std::string(name), std::move(entry)).second;
    LOWBIT_CHECK(inserted, "the ", kind_, " \"", name, "\" was registered twice");
    return true;
  }

  // The entry, which lives as long as the registry; else NotFound, as UnknownNameMessage() puts it.
  absl::StatusOr<const T*> Find(absl::string_view name) const {
    const auto it = entries_.find(std::string(name));
    if (it == entries_.end()) return absl::NotFoundError(UnknownNameMessage(kind_, name, Names()));
    return &it->second;
  }

  // All names, sorted.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    names.reserve(entries_.size());
    for (const auto& entry : entries_) names.push_back(entry.first);
    return names;
  }

 private:
  const std::string kind_;
  std::map<std::string, T> entries_;
};

}  // namespace lowbit

#endif  // LOWBIT_BASE_REGISTRY_H_
