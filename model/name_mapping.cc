#include "model/name_mapping.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "re2/re2.h"

namespace lowbit {
namespace {

std::string Field(size_t rule, const char* field) { return absl::StrCat("[", rule, "].", field); }

// Names come from a file: what would garble a terminal is escaped.
std::string Quote(const std::string& name) { return absl::StrCat("\"", absl::CHexEscape(name), "\""); }

std::string FirstNames(const std::map<std::string, std::string>& original_of) {
  constexpr size_t kShown = 3;
  std::vector<std::string> shown;
  for (const auto& entry : original_of) {
    if (shown.size() < kShown) shown.push_back(Quote(entry.first));
  }
  if (shown.empty()) return "none are left";
  const size_t more = original_of.size() - shown.size();
  return absl::StrCat("they are ", absl::StrJoin(shown, ", "), more == 0 ? "" : absl::StrCat(" and ", more, " more"));
}

}  // namespace

absl::StatusOr<NameMapping> NameMapping::Create(const std::vector<Rule>& rules) {
  NameMapping mapping;
  for (const Rule& rule : rules) {
    const size_t number = mapping.rules_.size();
    if (rule.from.empty())
      return FieldError(Field(number, "from"), "is empty; it must match the whole name of a tensor");
    // Alone first: the message should not show what is put around it, and "a)(b" is no expression.
    const RE2 alone(rule.from, RE2::Quiet);
    if (!alone.ok()) {
      return FieldError(Field(number, "from"),
                        absl::StrCat("\"", rule.from, "\" is no regular expression: ", alone.error()));
    }
    // RE2::Extract, which fills in groups, does not ask for a whole match.
    auto whole = std::make_shared<const RE2>(absl::StrCat("\\A(?:", rule.from, ")\\z"), RE2::Quiet);
    if (!whole->ok()) {
      return FieldError(Field(number, "from"),
                        absl::StrCat("\"", rule.from, "\" is no regular expression: ", whole->error()));
    }
    std::string error;
    if (!whole->CheckRewriteString(rule.to, &error)) {
      return FieldError(Field(number, "to"), absl::StrCat("\"", rule.to, "\" cannot be filled in: ", error));
    }
    mapping.rules_.push_back({rule, std::move(whole)});
  }
  return mapping;
}

absl::StatusOr<std::map<std::string, std::string>> NameMapping::Apply(const std::vector<std::string>& names) const {
  std::map<std::string, std::string> original_of;  // by the names as they stand
  for (const std::string& name : names) original_of.emplace(name, name);
  for (size_t i = 0; i < rules_.size(); ++i) {
    const Compiled& rule = rules_[i];
    bool matched = false;
    std::map<std::string, std::string> renamed;
    for (const auto& [name, original] : original_of) {
      std::string to = name;
      if (RE2::Extract(name, *rule.whole, rule.rule.to, &to)) matched = true;
      if (to.empty()) continue;
      const auto [place, is_new] = renamed.emplace(to, original);
      if (!is_new) {
        return FieldError(Field(i, "to"), absl::StrCat("the file's ", Quote(place->second), " and ", Quote(original),
                                                       " would both be called ", Quote(to)));
      }
    }
    if (!matched) {
      return FieldError(
          Field(i, "from"),
          absl::StrCat("\"", rule.rule.from, "\" matches none of the names of tensors; ", FirstNames(original_of)));
    }
    original_of = std::move(renamed);
  }
  std::map<std::string, std::string> new_name;
  for (auto& [name, original] : original_of) new_name.emplace(std::move(original), name);
  return new_name;
}

}  // namespace lowbit
