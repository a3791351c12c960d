#include "runtime/runtime_main.h"

int main(int argc, char** argv) { return lowbit::RuntimeMain({argv + 1, argv + argc}); }
