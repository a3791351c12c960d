#ifndef LOWBIT_PIPELINE_PIPELINE_MAIN_H_
#define LOWBIT_PIPELINE_PIPELINE_MAIN_H_

#include <string>
#include <vector>

namespace lowbit {

// The program behind //pipeline: reads the command line, checks the config, runs it. The last thing on standard output
// is the table of the run; everything else goes to standard error. Returns the exit code.
int PipelineMain(const std::vector<std::string>& arguments);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_PIPELINE_MAIN_H_
