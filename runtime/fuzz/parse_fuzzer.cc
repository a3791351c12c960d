#include "runtime/fuzz/parse_fuzzer.h"

#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/network.h"

namespace lowbit {
namespace {

// A network that a file describes may be slow, or need much memory, without anything being wrong.
constexpr int64_t kMostMacs = 1 << 20;
constexpr int64_t kMostNumbers = 1 << 16;
constexpr int64_t kMostBytes = 1 << 24;

}  // namespace

FuzzOutcome ParseAndRun(absl::string_view bytes) {
  const auto network = IntegerNetwork::Parse(bytes, "fuzz");
  if (!network.ok()) return FuzzOutcome::kRefused;
  int64_t macs = 0;
  for (const StepInfo& step : (*network)->steps()) macs += step.macs;
  const int64_t numbers = (*network)->channels() * (*network)->height() * (*network)->width();
  if (macs > kMostMacs || numbers > kMostNumbers || (*network)->thread_bytes() > kMostBytes)
    return FuzzOutcome::kLoaded;
  std::vector<float> image;
  for (int64_t i = 0; i < numbers; ++i) image.push_back(static_cast<float>(i % 29) / 7 - 2);
  std::vector<float> outputs(static_cast<size_t>((*network)->outputs()));
  IntegerSession session(*network);
  return session.Run(image.data(), 1, outputs.data()).ok() ? FuzzOutcome::kRan : FuzzOutcome::kRefused;
}

}  // namespace lowbit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lowbit::ParseAndRun({reinterpret_cast<const char*>(data), size});
  return 0;
}
