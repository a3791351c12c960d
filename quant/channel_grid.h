#ifndef LOWBIT_QUANT_CHANNEL_GRID_H_
#define LOWBIT_QUANT_CHANNEL_GRID_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/affine.h"
#include "quant/quant_params.h"

namespace lowbit {

// The grid of one channel of a tensor, whatever its kind: the specification of grids that are not uniform, as affine.h
// is of those that are (and is called here for them). All operations are single float32 operations in the order
// written, as in affine.h.
class ChannelGrid {
 public:
  // `params` must be valid. Where it has one scale, that is the grid of every channel.
  ChannelGrid(const QuantParams& params, size_t channel);

  // The code of the level nearest to x / scale + zero_point; of two equally near ones that of the lower level (on a
  // uniform grid: of the even one). x may be infinite but not NaN.
  int32_t Quantize(float x) const {
    return levels_.empty() ? QuantizeValue(x, scale_, zero_point_, qmin_, qmax_) : NearestLevel(x);
  }

  // (level(q) - zero_point) * scale. q must be a code.
  float Dequantize(int32_t q) const {
    if (levels_.empty()) return DequantizeValue(q, scale_, zero_point_);
    return (level_of_code_[static_cast<size_t>(q - qmin_)] - zero_point_) * scale_;
  }

  // What is left of x after a round trip. NaN stays NaN.
  float FakeQuantize(float x) const { return std::isnan(x) ? x : Dequantize(Quantize(x)); }

  // What the codes stand for, ascending. Not for 16 bits' sake: it makes the list anew.
  std::vector<float> Values() const;

  int32_t qmin() const { return qmin_; }
  int32_t qmax() const { return qmax_; }

  float scale() const { return scale_; }
  float zero_point() const { return zero_point_; }

  // Of a grid that is not uniform: its levels, ascending, and between each and the next what separates them, (a + b)
  // / 2.
  const std::vector<float>& levels() const { return levels_; }
  const std::vector<float>& midpoints() const { return midpoints_; }

 private:
  int32_t NearestLevel(float x) const;

  float scale_;
  float zero_point_;
  int32_t qmin_;
  int32_t qmax_;
  std::vector<float> levels_;
  std::vector<float> midpoints_;
  std::vector<int32_t> codes_;        // of levels_
  std::vector<float> level_of_code_;  // by q - qmin
};

// Lowers scales, +inf too, as far as it takes for every code to stand for a finite number. `params` must be valid but
// for that.
void KeepValuesFinite(QuantParams* params);

}  // namespace lowbit

#endif  // LOWBIT_QUANT_CHANNEL_GRID_H_
