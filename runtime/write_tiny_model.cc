// Writes the tiny models for tests that are no C++: write_tiny_model <kind> <file>

#include <cstdio>

#include "base/file.h"
#include "runtime/network_testing.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: write_tiny_model <kind> <file>\n");
    return 2;
  }
  const absl::Status status = lowbit::WriteFileAtomic(argv[2], lowbit::TinyModelBytes(argv[1]));
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
