#ifndef LOWBIT_PIPELINE_THREADS_H_
#define LOWBIT_PIPELINE_THREADS_H_

namespace lowbit {

// From now on LibTorch, and the BLAS library below it, work with so many threads; 0: one for each core.
void SetThreads(int threads);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_THREADS_H_
