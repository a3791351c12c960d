#include "data/image_metadata.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace lowbit {
namespace {

constexpr char kMeanKey[] = "lowbit.mean";
constexpr char kStdKey[] = "lowbit.std";
constexpr char kClassesKey[] = "lowbit.classes";

// With as many digits as it takes to read the same float again.
std::string NumbersText(const std::vector<float>& numbers) {
  return absl::StrJoin(numbers, ",", [](std::string* text, float number) {
    std::string digits = absl::StrCat(number);
    float again = 0;
    if (!absl::SimpleAtof(digits, &again) || again != number) digits = absl::StrFormat("%.9g", number);
    text->append(digits);
  });
}

absl::StatusOr<std::vector<float>> Stored(const char* key, const std::map<std::string, std::string>& metadata) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return absl::NotFoundError(absl::StrCat("the model has no metadata \"", key, "\""));
  return ParseChannelNumbers(absl::StrCat("metadata \"", key, "\""), found->second);
}

}  // namespace

void StoreImageMetadata(const Normalization& normalization, const std::vector<std::string>& class_names,
                        std::map<std::string, std::string>* metadata) {
  (*metadata)[kMeanKey] = NumbersText(normalization.mean);
  (*metadata)[kStdKey] = NumbersText(normalization.std);
  if (class_names.empty()) {
    metadata->erase(kClassesKey);
  } else {
    (*metadata)[kClassesKey] = absl::StrJoin(class_names, "\n");
  }
}

absl::StatusOr<std::vector<float>> StoredMean(const std::map<std::string, std::string>& metadata) {
  return Stored(kMeanKey, metadata);
}

absl::StatusOr<std::vector<float>> StoredStd(const std::map<std::string, std::string>& metadata) {
  return Stored(kStdKey, metadata);
}

std::vector<std::string> StoredClassNames(const std::map<std::string, std::string>& metadata) {
  const auto found = metadata.find(kClassesKey);
  if (found == metadata.end()) return {};
  return absl::StrSplit(found->second, '\n');
}

absl::StatusOr<std::vector<float>> ParseChannelNumbers(absl::string_view what, absl::string_view text) {
  std::vector<float> numbers;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    float number = 0;
    if (!absl::SimpleAtof(part, &number) || !std::isfinite(number)) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": wanted numbers with commas between them, got \"", text, "\""));
    }
    numbers.push_back(number);
  }
  return numbers;
}

}  // namespace lowbit
