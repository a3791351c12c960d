#ifndef LOWBIT_QUANT_INTEGER_WEIGHT_H_
#define LOWBIT_QUANT_INTEGER_WEIGHT_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "quant/quantized_model.h"

namespace lowbit {

// The weights of one layer as integers of 8 bits, for each output channel o: x ~ scale[o] * (w - zero_point[o]).
struct IntegerWeight {
  std::vector<int8_t> values;  // in the order of the packed ones
  std::vector<double> scale;
  std::vector<double> zero_point;
};

// Moved, and doubled where that makes a zero point whole, to fit 8 bits: zero points are 0 where that can be. Nothing
// where they do not fit, or are no whole numbers.
std::optional<IntegerWeight> ToIntegers(const PackedWeight& packed);

// Whether every sum of the weights times codes up to `max_code`, and every sum of codes, is within +-`most`; unless it
// is given, what 32 bits hold.
bool SumsFit(const IntegerWeight& weight, int64_t max_code, int64_t most = std::numeric_limits<int32_t>::max());

}  // namespace lowbit

#endif  // LOWBIT_QUANT_INTEGER_WEIGHT_H_
