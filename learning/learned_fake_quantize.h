#ifndef LOWBIT_LEARNING_LEARNED_FAKE_QUANTIZE_H_
#define LOWBIT_LEARNING_LEARNED_FAKE_QUANTIZE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "quant/quant_params.h"

namespace lowbit {

// Which elements of a tensor stay float: each by itself with this probability, chosen by the seed.
struct RandomFloat {
  double probability = 0;  // in [0, 1]
  uint32_t seed = 0;
};

// Fake quantization of an activation that autograd can go back through (LSQ, Esser et al. 2020, arXiv 1902.08153), with
// a scale that is learned:
//
//   y = x' fake-quantized by `params` with `scale` in place of its own, where x' = relu ? max(x, 0) : x
//
// The gradient of x is that of y where x' lies within the grid, else 0 (with one bit, whose grid has no inside, half a
// step beyond it counts as inside). That of the scale is the sum over the elements of
// grad * (level - zero_point - (inside ? x' / scale : 0)). Elements that stay float are x', with the gradient of y;
// QDrop (Wei et al. 2022, arXiv 2203.05740) learns so.
//
// x: float32 on the CPU, dense in any memory order, which the result shares. scale: float32 [1], above 0. `params` has
// one scale. Work is spread over LibTorch's threads; the result depends neither on how many nor on the memory order's
// name, but which elements stay float goes by their place in memory.
at::Tensor LearnedFakeQuantize(const at::Tensor& x, const at::Tensor& scale, const QuantParams& params, bool relu,
                               const RandomFloat& stays_float);

// The images `rows` of a and b, [N, ...] float32 and dense with one piece of memory for each image, as one batch; each
// element comes from `a` with the given probability, else from `b`. Where they are the same tensor it is a plain
// gather.
at::Tensor MixRows(const at::Tensor& a, const at::Tensor& b, const std::vector<int64_t>& rows,
                   const RandomFloat& from_a);

// Sum over all elements of (x - target row)^2, divided by the number of images and places of x [n, C, H, W] or [n, F]
// (n H W, or n): the squared error of a place, summed over its channels. `gradient` gets what that is for x.
double SquaredError(const at::Tensor& x, const at::Tensor& targets, const std::vector<int64_t>& rows,
                    at::Tensor* gradient);

}  // namespace lowbit

#endif  // LOWBIT_LEARNING_LEARNED_FAKE_QUANTIZE_H_
