#ifndef LOWBIT_RUNTIME_FUZZ_PARSE_FUZZER_H_
#define LOWBIT_RUNTIME_FUZZ_PARSE_FUZZER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace lowbit {

enum class FuzzOutcome {
  kRefused,  // with a status, as it should be
  kLoaded,   // too large to be run here
  kRan,
};

// Takes `bytes` for a model's file and, if it is one of a small network, runs an image. Whatever the bytes are, this
// returns.
FuzzOutcome ParseAndRun(absl::string_view bytes);

}  // namespace lowbit

// What libFuzzer and other fuzzers call.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#endif  // LOWBIT_RUNTIME_FUZZ_PARSE_FUZZER_H_
