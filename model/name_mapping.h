#ifndef LOWBIT_MODEL_NAME_MAPPING_H_
#define LOWBIT_MODEL_NAME_MAPPING_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace re2 {
class RE2;
}

namespace lowbit {

// Turns the names of a file's tensors into those of a network.
//
// The rules are applied one after the other, each to the names as those before it left them, so that what has to be
// done to many names (taking off a prefix) is said once and need not be repeated in each rule that does more.
class NameMapping {
 public:
  struct Rule {
    std::string from;  // a regular expression (RE2) that a whole name has to match
    std::string to;    // its new name; \1 to \9 stand for groups, \0 for the old name. Empty: the tensor is left out.
  };

  // Changes no name.
  NameMapping() = default;

  // Errors name the field at fault from the list on: "[0].from".
  static absl::StatusOr<NameMapping> Create(const std::vector<Rule>& rules);

  // The new name of each of `names` that stays. Errors as above: a rule that matches nothing when its turn comes, two
  // names that would become one (both are named).
  absl::StatusOr<std::map<std::string, std::string>> Apply(const std::vector<std::string>& names) const;

 private:
  struct Compiled {
    Rule rule;
    std::shared_ptr<const re2::RE2> whole;  // matches what `from` matches from end to end
  };

  std::vector<Compiled> rules_;
};

}  // namespace lowbit

#endif  // LOWBIT_MODEL_NAME_MAPPING_H_
