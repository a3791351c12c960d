#ifndef LOWBIT_PIPELINE_LIST_H_
#define LOWBIT_PIPELINE_LIST_H_

#include <string>

namespace lowbit {

// Everything that a config can hold: its fields, the steps and the quantizers that this program links, with types and
// defaults. What they mean is said in docs/config_reference.md and beside each quantizer, in its options.proto.
std::string ListText();

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_LIST_H_
