#ifndef LOWBIT_QUANT_FAKE_QUANT_NETWORK_H_
#define LOWBIT_QUANT_FAKE_QUANT_NETWORK_H_

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/executor.h"
#include "quant/quant_params.h"
#include "quant/quantized_model.h"

namespace lowbit {

// A QuantizedModel on LibTorch, in floats, with the arithmetic of docs/numerics.md, "The integer engine": where a
// layer's input and weight have codes of 8 bits at most it gets whole numbers, of which float32 adds products without
// an error as long as sums stay below 2^24, and scales come afterwards. So what such layers put out does not depend on
// the order in which a library adds, nor with it on the processor, the threads or the batch; and the integer engine
// puts out the same bits.
//
// Layers for which that does not hold (a float input or weight, bases, 16 bits, sums that could be larger) are run on
// the fake-quantized values, as with FakeQuantHook.
class FakeQuantNetwork {
 public:
  // InvalidArgument as CheckQuantizedModel, or naming a layer whose scales float32 does not hold together.
  static absl::StatusOr<FakeQuantNetwork> Create(const QuantizedModel& model);

  // As Executor::Forward. May be called from several threads.
  absl::StatusOr<at::Tensor> Forward(const at::Tensor& images) const;

  // Whether the sums of this layer are exact.
  bool HasExactSums(absl::string_view layer) const;

 private:
  // x = (x - zero_point) * scale.
  struct Affine {
    float zero_point = 0;
    float scale = 1;

    at::Tensor operator()(const at::Tensor& x) const;
  };

  // What happens to one layer's tensors.
  struct LayerPlan {
    std::vector<Affine> inputs;  // what each goes through before the layer runs
    // With exact sums: what makes of one what the layer puts out, y = sum * factor + addend, both repeated as the
    // numbers of a tensor follow each other in memory, channels last.
    at::Tensor factor, addend;
    // Where weights have zero points: y = y + sum of the codes in the window * patch_factor[o]. Else undefined.
    at::Tensor patch_factor;
    int64_t pixels = 1;                 // where it is a mean: of so many numbers
    std::optional<QuantParams> params;  // of the output, if it is quantized
    // The output goes on as codes, whole numbers from 0. `add` makes them of level - zero point.
    bool in_codes = false;
    float add = 0;
  };

  class Hook;
  class Planner;

  explicit FakeQuantNetwork(Executor executor) : executor_(std::move(executor)) {}

  Executor executor_;
  std::vector<LayerPlan> plans_;  // by layer
  Affine output_;
};

}  // namespace lowbit

#endif  // LOWBIT_QUANT_FAKE_QUANT_NETWORK_H_
