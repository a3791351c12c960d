#ifndef LOWBIT_PIPELINE_TEXT_ERROR_H_
#define LOWBIT_PIPELINE_TEXT_ERROR_H_

#include <string>

namespace lowbit {

// An error message of protobuf's text-format parser, in our words where its own would mislead: an unknown field, or an
// unknown message in an Any, with the name that was probably meant.
std::string InOurWords(const std::string& message);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_TEXT_ERROR_H_
