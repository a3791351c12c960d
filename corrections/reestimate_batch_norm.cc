#include "corrections/reestimate_batch_norm.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "corrections/channel_statistics.h"
#include "model/double_vector.h"
#include "model/executor.h"
#include "model/parameters.h"
#include "quant/fake_quant_model.h"

namespace lowbit {
namespace {

int64_t CountBatchNorms(const Graph& graph) {
  return std::count_if(graph.layers().begin(), graph.layers().end(),
                       [](const Layer& layer) { return std::holds_alternative<BatchNorm>(layer.op); });
}

// Re-estimates each batch norm as the images come by, and hands on what it would put out from then on.
class Reestimator : public LayerHook {
 public:
  Reestimator(const ParameterMap& parameters, ReestimatedModel* result)
      : parameters_(parameters),
        fake_quant_(result->model),
        result_(*result),
        progress_("reestimate_batch_norm", CountBatchNorms(result->model.graph), "layers") {}

  at::Tensor OnInput(int layer, int /*input_index*/, at::Tensor x) override {
    const Layer& reader = result_.model.graph.layer(layer);
    // The pass cannot be ended from here; what is left of it runs without this work.
    if (!std::holds_alternative<BatchNorm>(reader.op) || !error_.ok()) return x;
    error_ = CheckInterrupt();
    if (!error_.ok()) return x;
    ChannelStatistics statistics;
    const absl::Status status = statistics.Observe(x);
    if (!status.ok()) {
      error_ = absl::Status(status.code(), absl::StrCat("input of ", reader.name, ": ", status.message()));
    }
    input_ = statistics.moments();
    return x;
  }

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    if (!error_.ok()) return y;
    const Layer& producer = result_.model.graph.layer(layer);
    if (const auto* norm = std::get_if<BatchNorm>(&producer.op)) {
      error_ = Reestimate(producer.name, norm->eps, y);
      progress_.Advance(1);
    }
    return fake_quant_.OnOutput(layer, std::move(y));
  }

  const absl::Status& error() const { return error_; }

 private:
  // y = (x - mean) / std gamma + beta becomes (x - new mean) / new std gamma + beta, by way of
  //   y <- ratio y + offset,   ratio = std / new std,   offset = (1 - ratio) beta + gamma (mean - new mean) / new std
  // where std is sqrt(var + eps).
  absl::Status Reestimate(const std::string& layer, double eps, at::Tensor& y) {
    const at::Tensor gamma = Parameter(layer, "weight"), beta = Parameter(layer, "bias");
    const at::Tensor mean = Parameter(layer, "running_mean"), var = Parameter(layer, "running_var");
    const size_t channels = input_.mean.size();
    std::vector<double> new_var(channels), ratio(channels), offset(channels);
    ReestimatedNorm report;
    report.layer = layer;
    for (size_t c = 0; c < channels; ++c) {
      const auto number = [c](const at::Tensor& values) { return values.data_ptr<double>()[c]; };
      new_var[c] = input_.std[c] * input_.std[c];
      const double std = std::sqrt(number(var) + eps), new_std = std::sqrt(new_var[c] + eps);
      if (!(std > 0) || !(new_std > 0)) {
        return absl::InvalidArgumentError(absl::StrCat("layer \"", layer, "\" (BatchNorm): channel ", c,
                                                       " has variance ", number(var), ", now ", new_var[c],
                                                       ", with eps ", eps, "; neither sum may be zero or negative"));
      }
      ratio[c] = std / new_std;
      offset[c] = (1 - ratio[c]) * number(beta) + number(gamma) * (number(mean) - input_.mean[c]) / new_std;
      report.max_shift = std::max(report.max_shift, std::abs(input_.mean[c] - number(mean)) / std);
      report.min_ratio = c == 0 ? new_std / std : std::min(report.min_ratio, new_std / std);
      report.max_ratio = c == 0 ? new_std / std : std::max(report.max_ratio, new_std / std);
    }
    result_.norms.push_back(std::move(report));
    LOWBIT_RETURN_IF_ERROR(SetParameter(ParameterName(layer, "running_mean"), ToFloats(input_.mean), &result_.model));
    LOWBIT_RETURN_IF_ERROR(SetParameter(ParameterName(layer, "running_var"), ToFloats(new_var), &result_.model));
    Shape per_channel(static_cast<size_t>(y.dim()), 1);
    per_channel[1] = y.size(1);
    y.mul_(ToFloats(ratio).view(per_channel)).add_(ToFloats(offset).view(per_channel));
    return absl::OkStatus();
  }

  at::Tensor Parameter(const std::string& layer, absl::string_view name) const {
    return parameters_.at(ParameterName(layer, name)).to(at::kDouble).contiguous();
  }

  const ParameterMap& parameters_;
  FakeQuantHook fake_quant_;
  ReestimatedModel& result_;
  Progress progress_;
  ChannelMoments input_;  // of the batch norm that is being run
  absl::Status error_;
};

}  // namespace

absl::StatusOr<ReestimatedModel> ReestimateBatchNorms(const QuantizedModel& quantized, const at::Tensor& images) {
  LOWBIT_ASSIGN_OR_RETURN(const ParameterMap parameters, FakeQuantParameters(quantized));
  LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(quantized.graph, parameters));
  ReestimatedModel result{quantized, {}};
  {
    Reestimator reestimator(parameters, &result);
    LOWBIT_RETURN_IF_ERROR(executor.Forward(images, &reestimator).status());
    LOWBIT_RETURN_IF_ERROR(reestimator.error());
  }
  LOWBIT_RETURN_IF_ERROR(CheckQuantizedModel(result.model));
  return result;
}

}  // namespace lowbit
