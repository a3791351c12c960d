#ifndef LOWBIT_SENSITIVITY_DISTORTION_H_
#define LOWBIT_SENSITIVITY_DISTORTION_H_

#include <ATen/core/Tensor.h>

namespace lowbit {

// How far a tensor x' is from the one that it stands for, x. Sums over all pairs shown so far.
struct Distortion {
  double signal = 0;   // sum x^2
  double noise = 0;    // sum (x - x')^2
  double product = 0;  // sum x x'
  double energy = 0;   // sum x'^2

  // Tensors of one shape, float32 on the CPU, in whatever memory order. The sums do not depend on the number of
  // threads.
  void Add(const at::Tensor& x, const at::Tensor& distorted);

  // Signal to quantization noise ratio, 10 log10(sum x^2 / sum (x - x')^2), in dB. Infinite where there is no noise,
  // minus infinity where there is noise and no signal.
  double sqnr_db() const;

  // sum x x' / sqrt(sum x^2 sum x'^2), in [-1, 1]. 1 where there is no noise; else 0 where x or x' is all zero.
  double cosine() const;
};

}  // namespace lowbit

#endif  // LOWBIT_SENSITIVITY_DISTORTION_H_
