#include "base/keep_freed_memory.h"

#include <malloc.h>

namespace lowbit {

void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

}  // namespace lowbit
