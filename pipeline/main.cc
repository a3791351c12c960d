#include "base/keep_freed_memory.h"
#include "pipeline/pipeline_main.h"

int main(int argc, char** argv) {
  lowbit::KeepFreedMemory();
  return lowbit::PipelineMain({argv + 1, argv + argc});
}
