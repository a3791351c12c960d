#ifndef LOWBIT_RUNTIME_RUNTIME_MAIN_H_
#define LOWBIT_RUNTIME_RUNTIME_MAIN_H_

#include <string>
#include <vector>

namespace lowbit {

// The program behind //runtime: reads the command line, loads a packed model and classifies images. Tables go to
// standard output, timings and errors to standard error. Returns the exit code (base/program.h).
int RuntimeMain(const std::vector<std::string>& arguments);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_RUNTIME_MAIN_H_
