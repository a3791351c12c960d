#ifndef LOWBIT_LEARNING_LEARNED_WEIGHT_H_
#define LOWBIT_LEARNING_LEARNED_WEIGHT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "quant/quantizer.h"

namespace lowbit {

// The quantized weight of a layer while it is learned: numbers that gradients can move, and the float tensor that they
// stand for at the moment.
//
//   loop:  weight.Write(value);  (network forward and back with `value`)  weight.Back(value.grad, ...);
//          (an optimizer moves rounding() and scale_factor())  weight.KeepScales();
//   weight.Harden()
//
// Not thread-safe. Grids of every kind (QuantParams) are taken; scales stay one for each channel, or one for all.
class LearnedWeight {
 public:
  virtual ~LearnedWeight();

  // Writes what the weight is at the moment to `value`, float32 and contiguous, of the weight's shape.
  virtual void Write(at::Tensor& value) const = 0;

  // From the gradient of the loss for what Write() wrote last, float32 and contiguous: sets the gradients of rounding()
  // and scale_factor() (Tensor::grad).
  virtual void Back(const at::Tensor& gradient) = 0;

  // The decision that is left to be made: adds `weight` times the gradient of the sum over the weights of
  // 1 - |2 h - 1|^sharpness to that of rounding(), where there is such a thing, and returns the sum.
  virtual double Regularize(double weight, double sharpness);

  // Roundings with h in (0.05, 0.95). 0 where every one is decided.
  virtual int64_t Undecided() const;

  // The integers that it comes to.
  virtual QuantizedTensor Harden() const = 0;

  // After an optimizer's step: keeps every scale above a tenth of what it began with.
  void KeepScales();

  // What is learned, leaf tensors that an optimizer changes in place: what decides on the roundings, and what the
  // scales at the start are multiplied by, [1] or [O], which begins at 1.
  const std::vector<at::Tensor>& rounding() const { return rounding_; }
  const at::Tensor& scale_factor() const { return scale_factor_; }

  int64_t size() const { return size_; }

 protected:
  // One number for each weight is the first of `rounding`.
  LearnedWeight(const QuantizedTensor& start, std::vector<at::Tensor> rounding);

  // The grid of a channel in units of its scale, ascending, and the codes of its values. (A uniform one has no tables,
  // which with 16 bits would be large.)
  struct Grid {
    bool is_uniform;
    float zero_point;
    int32_t qmin, qmax;
    std::vector<float> values;          // level - zero_point
    std::vector<int32_t> codes;         // the first where several have the same value
    std::vector<size_t> index_of_code;  // of values, by code - qmin

    size_t size() const { return is_uniform ? static_cast<size_t>(qmax - qmin + 1) : values.size(); }
    float Value(size_t i) const { return is_uniform ? static_cast<float>(Code(i)) - zero_point : values[i]; }
    int32_t Code(size_t i) const { return is_uniform ? qmin + static_cast<int32_t>(i) : codes[i]; }
    size_t IndexOf(int32_t code) const {
      const size_t i = static_cast<size_t>(code - qmin);
      return is_uniform ? i : index_of_code[i];
    }
    // The index of the value nearest to x; of two equally near ones as ChannelGrid::Quantize.
    size_t Nearest(float x) const;
    // Whether x lies within the grid, for the straight-through estimator; with two values also half a step beyond.
    bool Inside(float x) const;
  };
  const Grid& grid(int64_t channel) const { return grids_[GridIndex(channel)]; }
  float scale(int64_t channel) const {
    const size_t i = GridIndex(channel);
    return start_.scale[i] * scale_factor_.data_ptr<float>()[i];
  }
  size_t GridIndex(int64_t channel) const { return grids_.size() == 1 ? 0 : static_cast<size_t>(channel); }

  int64_t channels() const { return rounding_.front().size(0); }
  int64_t channel_size() const { return size_ / channels(); }
  float* rounding_data(size_t i = 0) const { return rounding_[i].data_ptr<float>(); }
  // Zeros, which are the parameter's gradient from then on.
  static float* NewGradient(const at::Tensor& parameter);
  // Sets the gradient of the scales' factors from that of the scale in each channel.
  void SetScaleGradient(const std::vector<double>& by_channel);

  // The parameters at the start, with the scales as they are now.
  QuantParams ParamsNow() const;
  // `codes` in the weight's order.
  QuantizedTensor Result(const std::vector<int32_t>& codes) const;

 private:
  Grid MakeGrid(size_t c) const;

  QuantParams start_;
  std::vector<Grid> grids_;  // one, or one for each channel
  std::vector<at::Tensor> rounding_;
  at::Tensor scale_factor_;
  int64_t size_;
};

// Up or down (AdaRound, Nagel et al. 2020, arXiv 2004.10568). Each weight lies between two neighbours of its grid: the
// code that a quantizer chose, and the next one on that side of it where the float weight is.
//
//   value = scale (low + h(V) (high - low)),  h(V) = clamp(1.2 sigmoid(V) - 0.1, 0, 1)
//
// h begins at the float weight's place between the two (at the nearer end if it is not between them). low and high stay
// when the scale is learned, so that its gradient is simply that sum (Genie-M, Jeon et al. 2023, arXiv 2212.04780). In
// the end h becomes 0 or 1, the nearer one.
//
// `hold` in [0, 1] moves the start from there (0) to the chosen code (1, where h is 0.04 or 0.96).
std::unique_ptr<LearnedWeight> MakeUpOrDown(const at::Tensor& float_weight, const QuantizedTensor& start, double hold);

// Any code (FlexRound, Lee et al. 2023, arXiv 2306.00317): value = scale q(w / (scale exp(D))), with q to the nearest
// value of the grid and D learned by the straight-through estimator: dividing, large weights move further. D is the sum
// of one number for each weight, one for each output channel and one for each input channel. It begins at 0 where the
// code chosen at the start is the nearest one, else where it divides the weight to that code's value; a code on the
// other side of zero cannot be come to, and begins as the nearest.
std::unique_ptr<LearnedWeight> MakeDivided(const at::Tensor& float_weight, const QuantizedTensor& start);

// Any code: value = scale q(w / scale), with w, which begins at the float weight, learned by the straight-through
// estimator inside of the grid, and the scale as in LSQ (Esser et al. 2020, arXiv 1902.08153). Where the code chosen at
// the start is not the nearest one, w begins at its value. What is learned is w in steps of the grid, w over the scale
// at the start, so that one rate does for tensors of all sizes.
//
// `hold` in [0, 1] moves the start from the float weight (0) to the value that was chosen (1): near the middle between
// two values it takes only the noise of a few steps to change the code.
std::unique_ptr<LearnedWeight> MakeLatent(const at::Tensor& float_weight, const QuantizedTensor& start, double hold);

// The codes that were chosen at the start, whatever becomes of the scale: value = scale level. rounding() has no say.
std::unique_ptr<LearnedWeight> MakeAsChosen(const QuantizedTensor& start);

}  // namespace lowbit

#endif  // LOWBIT_LEARNING_LEARNED_WEIGHT_H_
