#include "quant/compensated_rounding.h"

#include <ATen/ops/empty.h>

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "quant/gram_inverse.h"
#include "quant/input_statistics.h"
#include "quant/parallel_for.h"

namespace lowbit {

absl::Status CompensatedRounding::CheckDamping(double damping) {
  if (damping >= 0 && damping <= kLargestDamping) return absl::OkStatus();
  return FieldError("damping", absl::StrCat("must be in [0, ", kLargestDamping, "], got ", damping));
}

absl::StatusOr<QuantizedTensor> CompensatedRounding::Quantize(const WeightView& view,
                                                              const PrepareGroup& prepare) const {
  QuantParams params = grids_.Of(view.weight, view.bits);
  at::Tensor codes = at::empty(view.weight.sizes(), at::kInt);
  const at::Tensor grams = view.input->Gram();
  const int64_t size = view.input->row_size();
  const int64_t rows = view.weight.size(0) / view.input->groups();  // of a group
  const float* const weights = view.weight.data_ptr<float>();
  int32_t* const out = codes.data_ptr<int32_t>();
  for (int64_t g = 0; g < view.input->groups(); ++g) {
    // (Beyond the largest damping `prepare` has an error of its own.)
    double damping = damping_;
    for (std::atomic<bool> done(false); !done; damping = RaisedDamping(damping)) {
      const absl::StatusOr<RoundRow> round_row = prepare(grams[g], damping);
      if (!round_row.ok()) {
        return absl::Status(round_row.status().code(),
                            absl::StrCat(view.layer.name, ".weight: ", round_row.status().message()));
      }
      done = true;
      ParallelFor(rows, [&](int64_t r) {
        const int64_t o = g * rows + r;
        const ChannelGrid grid(params, static_cast<size_t>(o));
        if (!(*round_row)(weights + o * size, grid, out + o * size)) done = false;
      });
    }
  }
  return QuantizedTensor{std::move(params), std::move(codes)};
}

}  // namespace lowbit
