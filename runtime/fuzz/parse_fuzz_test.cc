// The fuzz target on inputs of our own making, the same in every run, since the default compiler has no libFuzzer.
// LOWBIT_FUZZ_INPUTS and LOWBIT_FUZZ_SEED make it try more of them, or others: docs/runtime.md, "Hostile files".
//
// An input that ends the process, or takes long, is left in the test's output folder.

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "gtest/gtest.h"
#include "runtime/fuzz/mutate.h"
#include "runtime/fuzz/parse_fuzzer.h"
#include "runtime/network_testing.h"

namespace lowbit {
namespace {

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  for (const std::string& kind : TinyModelKinds()) seeds.push_back(TinyModelBytes(kind));
  return seeds;
}

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* const text = std::getenv(name);
  int64_t number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : otherwise;
}

std::string OutputFolder() {
  const char* const folder = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  return folder == nullptr ? testing::TempDir() : folder;
}

void Write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

TEST(ParseFuzz, TheSeedsRun) {
  for (const std::string& seed : Seeds()) EXPECT_EQ(ParseAndRun(seed), FuzzOutcome::kRan);
}

TEST(ParseFuzz, DamagedFilesAreRefusedOrRun) {
  const int64_t inputs = FromEnvironment("LOWBIT_FUZZ_INPUTS", 10000);
  const uint64_t seed = static_cast<uint64_t>(FromEnvironment("LOWBIT_FUZZ_SEED", 1));
  const std::vector<std::string> seeds = Seeds();
  const std::string current = OutputFolder() + "/current_input.safetensors";
  std::map<FuzzOutcome, int64_t> outcomes;
  for (int64_t i = 0; i < inputs; ++i) {
    Rng random({seed, static_cast<uint64_t>(i)});
    const std::string input = Mutate(seeds[static_cast<size_t>(i) % seeds.size()], seeds, &random);
    Write(current, input);  // should the process end here
    const auto start = std::chrono::steady_clock::now();
    ++outcomes[ParseAndRun(input)];
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds > 5) {
      const std::string slow = absl::StrCat(OutputFolder(), "/slow_", i, ".safetensors");
      Write(slow, input);
      ADD_FAILURE() << "input " << i << " took " << seconds << " s: " << slow;
    }
  }
  std::remove(current.c_str());
  // Not all damage is noticed, and some of it changes nothing that matters: else nothing but the container was tried.
  EXPECT_GT(outcomes[FuzzOutcome::kRefused], inputs / 2);
  EXPECT_GT(outcomes[FuzzOutcome::kRan], inputs / 20);
  EXPECT_GT(outcomes[FuzzOutcome::kLoaded], 0);
  std::printf("%lld refused, %lld loaded and too large to run, %lld ran\n",
              static_cast<long long>(outcomes[FuzzOutcome::kRefused]),
              static_cast<long long>(outcomes[FuzzOutcome::kLoaded]),
              static_cast<long long>(outcomes[FuzzOutcome::kRan]));
}

}  // namespace
}  // namespace lowbit
