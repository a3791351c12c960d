#ifndef LOWBIT_QUANT_PARALLEL_FOR_H_
#define LOWBIT_QUANT_PARALLEL_FOR_H_

#include <cstdint>
#include <functional>

namespace lowbit {

// Calls body(0), ..., body(count - 1), spread over LibTorch's threads (at::set_num_threads). Each call should be worth
// some ten microseconds. Calls from inside of a parallel region run one after the other.
//
// LibTorch's own at::parallel_for is a header whose code runs in parallel only if ours is compiled with OpenMP, and
// then with the compiler's OpenMP library, which need not be the one that LibTorch brings along and whose threads it
// counts.
void ParallelFor(int64_t count, const std::function<void(int64_t)>& body);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_PARALLEL_FOR_H_
