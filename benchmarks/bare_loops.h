#ifndef LOWBIT_BENCHMARKS_BARE_LOOPS_H_
#define LOWBIT_BENCHMARKS_BARE_LOOPS_H_

#include <cstdint>

namespace lowbit {

// What the processor can do at most with each way of multiplying: a loop over data that stays in the first cache, its
// sums in registers, with nothing before it and nothing after it. Ceilings for the kernels, not kernels. Each returns
// the multiply-accumulates that it did in so many passes over its data, or 0 where the processor has not the
// instructions.

int64_t BareBytes16(int64_t passes);  // vpmaddubsw, sums in 16 bits: up to 4 bits by 4 bits
int64_t BareBytes32(int64_t passes);  // vpmaddubsw, widened at once: 8 bits, not exact
int64_t BareWords32(int64_t passes);  // vpmaddwd: 8 bits, exact
int64_t BareXnor(int64_t passes);     // xor and a count of bits by vpshufb: 1 bit
int64_t BareTables(int64_t passes);   // vpshufb into tables of sums of weights: 1 bit

int64_t BareBytesVnni(int64_t passes);  // vpdpbusd: 8 bits, exact
int64_t BareBits(int64_t passes);       // and, vpopcntd: 1 bit

}  // namespace lowbit

#endif  // LOWBIT_BENCHMARKS_BARE_LOOPS_H_
