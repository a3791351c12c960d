#include <malloc.h>

#include "pipeline/pipeline_main.h"

namespace {

// LibTorch asks for the same tensors again at every step of whatever is learned. glibc would get each large one from the
// system and give it back: on a virtual machine a fifth of the time went into that.
void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

}  // namespace

int main(int argc, char** argv) {
  KeepFreedMemory();
  return lowbit::PipelineMain({argv + 1, argv + argc});
}
