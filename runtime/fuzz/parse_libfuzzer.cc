// The fuzz target for libFuzzer, which has the main() and finds the rest by its names.

#include <cstring>

#include "base/random.h"
#include "runtime/fuzz/mutate.h"
#include "runtime/fuzz/parse_fuzzer.h"
#include "runtime/network_testing.h"

namespace lowbit {
namespace {

const std::vector<std::string>& Seeds() {
  static const auto* const seeds = [] {
    auto* const made = new std::vector<std::string>();
    for (const std::string& kind : TinyModelKinds()) made->push_back(TinyModelBytes(kind));
    return made;
  }();
  return *seeds;
}

}  // namespace
}  // namespace lowbit

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// libFuzzer alone would spend its life on containers that cannot be read. An empty corpus starts from the tiny models.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  lowbit::Rng random({seed});
  if (random.Bernoulli(0.25)) return LLVMFuzzerMutate(data, size, max_size);
  const std::vector<std::string>& seeds = lowbit::Seeds();
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size < 64) bytes = seeds[static_cast<size_t>(random.UniformInt(static_cast<int64_t>(seeds.size())))];
  const std::string mutated = lowbit::Mutate(std::move(bytes), seeds, &random);
  const size_t copied = std::min(mutated.size(), max_size);
  std::memcpy(data, mutated.data(), copied);
  return copied;
}
