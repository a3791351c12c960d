#ifndef LOWBIT_QUANT_CODE_GRID_H_
#define LOWBIT_QUANT_CODE_GRID_H_

#include <cstddef>
#include <cstdint>

#include "quant/affine.h"
#include "quant/quant_params.h"

namespace lowbit {

// The codes of one channel and their values, for methods that choose codes one at a time.
class CodeGrid {
 public:
  // `channel`: the index of the output channel; all have one grid where `params` has one scale.
  CodeGrid(const QuantParams& params, int64_t channel)
      : scale_(params.scale[params.per_channel() ? static_cast<size_t>(channel) : 0]),
        zero_point_(params.zero_point[params.per_channel() ? static_cast<size_t>(channel) : 0]),
        qmin_(params.qmin()),
        qmax_(params.qmax()) {}

  // The code nearest to x, and the value of a code.
  int32_t Nearest(double x) const { return QuantizeValue(static_cast<float>(x), scale_, zero_point_, qmin_, qmax_); }
  double Value(int32_t code) const { return static_cast<double>(DequantizeValue(code, scale_, zero_point_)); }

  // The distance between neighbouring codes.
  double step() const { return static_cast<double>(scale_); }
  int32_t qmin() const { return qmin_; }
  int32_t qmax() const { return qmax_; }

 private:
  float scale_;
  float zero_point_;
  int32_t qmin_;
  int32_t qmax_;
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_CODE_GRID_H_
