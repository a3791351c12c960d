#ifndef LOWBIT_DATA_IMAGE_METADATA_H_
#define LOWBIT_DATA_IMAGE_METADATA_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/normalize.h"

namespace lowbit {

// What a model's file says of the images that it is for, as text among the file's metadata:
//
//   "lowbit.mean", "lowbit.std"   one number for each channel, "0.4914,0.4822,0.4465": see Normalization
//   "lowbit.classes"              names of the classes, a line feed between each two; left out where none are known
void StoreImageMetadata(const Normalization& normalization, const std::vector<std::string>& class_names,
                        std::map<std::string, std::string>* metadata);

// The reverse. NotFound, naming the key, where mean or std are not there; InvalidArgument where they are no numbers.
absl::StatusOr<std::vector<float>> StoredMean(const std::map<std::string, std::string>& metadata);
absl::StatusOr<std::vector<float>> StoredStd(const std::map<std::string, std::string>& metadata);

// Empty where there are none.
std::vector<std::string> StoredClassNames(const std::map<std::string, std::string>& metadata);

// "0.4914,0.4822,0.4465" as numbers; `what` is for the message.
absl::StatusOr<std::vector<float>> ParseChannelNumbers(absl::string_view what, absl::string_view text);

}  // namespace lowbit

#endif  // LOWBIT_DATA_IMAGE_METADATA_H_
