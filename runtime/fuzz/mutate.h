#ifndef LOWBIT_RUNTIME_FUZZ_MUTATE_H_
#define LOWBIT_RUNTIME_FUZZ_MUTATE_H_

#include <string>
#include <vector>

#include "base/random.h"

namespace lowbit {

// `bytes`, a model's file, changed in one to four places. A quarter of them are changed in their bytes: flipped, cut
// off, repeated, exchanged with those of one of `seeds`, whole files; the others in what they say, so that they stay
// containers that can be read: numbers and lines of the network's text, elements, shapes and types of tensors.
std::string Mutate(std::string bytes, const std::vector<std::string>& seeds, Rng* random);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_FUZZ_MUTATE_H_
