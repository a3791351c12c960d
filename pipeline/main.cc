#include "pipeline/pipeline_main.h"

int main(int argc, char** argv) { return lowbit::PipelineMain({argv + 1, argv + argc}); }
