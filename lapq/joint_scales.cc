#include "lapq/joint_scales.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "evaluation/answer_change.h"
#include "lapq/powell.h"
#include "model/executor.h"
#include "quant/channel_grid.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "quant/parallel_for.h"
#include "quant/range_error.h"
#include "quant/range_grid.h"
#include "quant/statistics.h"

namespace lowbit {
namespace {

constexpr int64_t kBatch = 256;

// The factors that Lp errors choose from: 3^-1 to 3 in 81 equal ratios. The joint search stays within 4^-1 and 4.
constexpr int kCandidates = 81;
constexpr double kWidestCandidate = 3;
constexpr double kWidestFactor = 4;

double Candidate(int i) { return std::pow(kWidestCandidate, 2.0 * i / (kCandidates - 1) - 1); }

QuantParams Scaled(const QuantParams& params, double factor) {
  QuantParams scaled = params;
  for (float& scale : scaled.scale) {
    const double wanted = static_cast<double>(scale) * factor;
    scale = static_cast<float>(std::clamp(wanted, static_cast<double>(std::numeric_limits<float>::min()),
                                          static_cast<double>(std::numeric_limits<float>::max())));
  }
  return scaled;
}

// Collects extremes and a histogram of each tensor that is to be searched.
class Observer : public LayerHook {
 public:
  Observer(const Graph& graph, const std::vector<std::string>& layers) : graph_(graph) {
    StatsRequest request;
    request.min_max = request.histogram = true;
    for (const std::string& layer : layers) statistics_.emplace(graph.Find(layer), TensorStatistics(request));
  }

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    const auto found = statistics_.find(layer);
    if (found == statistics_.end() || !error_.ok()) return y;
    const absl::Status status = found->second.Observe(y);
    if (!status.ok()) {
      error_ =
          absl::Status(status.code(), absl::StrCat("output of ", graph_.layer(layer).name, ": ", status.message()));
    }
    return y;
  }

  const absl::Status& error() const { return error_; }
  const TensorStatistics& at(int layer) const { return statistics_.at(layer); }

 private:
  const Graph& graph_;
  std::map<int, TensorStatistics> statistics_;
  absl::Status error_;
};

class Search {
 public:
  Search(const Model& model, const QuantizedModel& quantized, const at::Tensor& images,
         const JointScalesOptions& options)
      : model_(model), start_(quantized), images_(images), options_(options), result_{quantized, 0, 0, {}, {}, 0, {}} {}

  absl::StatusOr<JointScalesResult> Run() {
    LOWBIT_RETURN_IF_ERROR(FindTensors());
    LOWBIT_RETURN_IF_ERROR(RunFloat());
    std::vector<double> factors(result_.scales.size(), 0.0);  // logarithms, as everywhere here
    LOWBIT_ASSIGN_OR_RETURN(result_.start_kl, Loss(factors));
    best_ = {factors, result_.start_kl};
    LOWBIT_RETURN_IF_ERROR(TryPowers());
    if (options_.iterations > 0 && !factors.empty()) {
      PowellOptions powell;
      powell.iterations = options_.iterations;
      powell.step = std::log(1.1);
      powell.highest = std::log(kWidestFactor);
      powell.lowest = -powell.highest;
      LOWBIT_ASSIGN_OR_RETURN(
          const PowellResult found,
          MinimizePowell([this](const std::vector<double>& x) { return Loss(x); }, best_.factors, best_.kl, powell));
      best_ = {found.x, found.value};
    }
    LOWBIT_ASSIGN_OR_RETURN(result_.model, With(best_.factors));
    result_.kl = best_.kl;
    for (size_t i = 0; i < result_.scales.size(); ++i) result_.scales[i].factor = std::exp(best_.factors[i]);
    return result_;
  }

 private:
  struct Best {
    std::vector<double> factors;
    double kl = 0;
  };

  absl::Status FindTensors() {
    for (const Layer& layer : model_.graph.layers()) {
      const auto weight = start_.weights.find(layer.name);
      if (weight == start_.weights.end() || !options_.weights) continue;
      const QuantParams& params = weight->second.params;
      if (params.bits > options_.max_bits) continue;
      if (!at::equal(Quantize(FloatWeight(layer.name), params), UnpackWeight(weight->second))) {
        return absl::InvalidArgumentError(absl::StrCat(
            layer.name,
            ".weight: is not rounded to the nearest codes, so that new scales would undo the rounding that "
            "its quantizer, or a correction, chose; `weights: false` leaves weights as they are"));
      }
      result_.scales.push_back({layer.name, true, 1});
    }
    for (const Layer& layer : model_.graph.layers()) {
      const auto activation = start_.activations.find(layer.name);
      if (activation == start_.activations.end() || !options_.activations) continue;
      if (activation->second.bits <= options_.max_bits) result_.scales.push_back({layer.name, false, 1});
    }
    return absl::OkStatus();
  }

  at::Tensor FloatWeight(const std::string& layer) const {
    return model_.parameters.at(ParameterName(layer, "weight")).detach().contiguous();
  }

  // The float network's answers, and the tensors that it puts out on the way.
  absl::Status RunFloat() {
    std::vector<std::string> activations;
    for (const SearchedScale& scale : result_.scales) {
      if (!scale.is_weight) activations.push_back(scale.layer);
    }
    observer_ = std::make_unique<Observer>(model_.graph, activations);
    LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(model_.graph, model_.parameters));
    for (int64_t begin = 0; begin < images_.size(0); begin += kBatch) {
      LOWBIT_ASSIGN_OR_RETURN(at::Tensor logits, executor.Forward(Batch(begin), observer_.get()));
      LOWBIT_RETURN_IF_ERROR(observer_->error());
      logits_.push_back(std::move(logits));
    }
    return absl::OkStatus();
  }

  at::Tensor Batch(int64_t begin) const { return images_.narrow(0, begin, std::min(kBatch, images_.size(0) - begin)); }

  absl::StatusOr<QuantizedModel> With(const std::vector<double>& factors) const {
    QuantizedModel model = start_;
    for (size_t i = 0; i < factors.size(); ++i) {
      if (factors[i] == 0) continue;
      const SearchedScale& scale = result_.scales[i];
      if (!scale.is_weight) {
        QuantParams& params = model.activations.at(scale.layer);
        params = Scaled(params, std::exp(factors[i]));
        continue;
      }
      const QuantParams params = Scaled(start_.weights.at(scale.layer).params, std::exp(factors[i]));
      const QuantizedTensor weight{params, Quantize(FloatWeight(scale.layer), params)};
      LOWBIT_RETURN_IF_ERROR(SetWeight(scale.layer, weight, &model));
    }
    return model;
  }

  absl::StatusOr<double> Loss(const std::vector<double>& factors) {
    LOWBIT_ASSIGN_OR_RETURN(const QuantizedModel quantized, With(factors));
    LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, FakeQuantParameters(quantized));
    LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(quantized.graph, std::move(parameters)));
    FakeQuantHook hook(quantized);
    AnswerChange change;
    for (size_t b = 0; b < logits_.size(); ++b) {
      LOWBIT_ASSIGN_OR_RETURN(const at::Tensor logits,
                              executor.Forward(Batch(static_cast<int64_t>(b) * kBatch), &hook));
      LOWBIT_RETURN_IF_ERROR(change.Add(logits_[b], logits));
    }
    ++result_.evaluations;
    lowest_ = std::min(lowest_, change.kl());
    if (options_.on_evaluation != nullptr) LOWBIT_RETURN_IF_ERROR(options_.on_evaluation(lowest_));
    return change.kl();
  }

  // The factor with the smallest Lp error of each tensor.
  std::vector<double> LpFactors(double p) const {
    std::vector<double> factors(result_.scales.size());
    ParallelFor(static_cast<int64_t>(factors.size()), [&](int64_t i) {
      const SearchedScale& scale = result_.scales[static_cast<size_t>(i)];
      const auto error_with = [&](double factor) {
        return scale.is_weight ? WeightError(scale.layer, factor, p) : ActivationError(scale.layer, factor, p);
      };
      double best = error_with(1);  // nothing else where all do as well, as for zeros
      for (int candidate = 0; candidate < kCandidates; ++candidate) {
        const double error = error_with(Candidate(candidate));
        if (error >= best) continue;
        best = error;
        factors[static_cast<size_t>(i)] = std::log(Candidate(candidate));
      }
    });
    return factors;
  }

  double WeightError(const std::string& layer, double factor, double p) const {
    const QuantParams params = Scaled(start_.weights.at(layer).params, factor);
    const at::Tensor weight = FloatWeight(layer);
    const int64_t channels = static_cast<int64_t>(params.scale.size());
    const int64_t size = weight.numel() / channels;
    const double unit = weight.abs().max().item<double>();
    if (unit == 0) return 0;
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const auto values = absl::MakeConstSpan(weight.data_ptr<float>() + c * size, static_cast<size_t>(size));
      sum += GridError(values, ChannelGrid(params, static_cast<size_t>(c)), p, unit);
    }
    return sum;
  }

  double ActivationError(const std::string& layer, double factor, double p) const {
    const TensorStatistics& statistics = observer_->at(model_.graph.Find(layer));
    const Range extremes{std::min(statistics.min(), 0.0f), std::max(statistics.max(), 0.0f)};
    if (Magnitude(extremes) == 0) return 0;
    return GridError(statistics.histogram(), extremes, ChannelGrid(Scaled(start_.activations.at(layer), factor), 0), p,
                     static_cast<double>(Magnitude(extremes)));
  }

  absl::Status TryPowers() {
    for (const double p : options_.powers) LOWBIT_RETURN_IF_ERROR(TryPower(p));
    double p;
    if (!Minimum(options_.powers, result_.power_kl, &p)) return absl::OkStatus();
    const auto& powers = options_.powers;
    const double lowest = *std::min_element(powers.begin(), powers.end());
    const double highest = *std::max_element(powers.begin(), powers.end());
    p = std::clamp(p, lowest, highest);
    if (std::count(powers.begin(), powers.end(), p) > 0) return absl::OkStatus();
    return TryPower(p);
  }

  absl::Status TryPower(double p) {
    const std::vector<double> factors = LpFactors(p);
    LOWBIT_ASSIGN_OR_RETURN(const double kl, Loss(factors));
    result_.powers.push_back(p);
    result_.power_kl.push_back(kl);
    if (kl < best_.kl) best_ = {factors, kl};
    return absl::OkStatus();
  }

  // Where the parabola that fits best, in the sense of least squares, has its minimum; none if it opens downwards or is
  // not determined.
  static bool Minimum(const std::vector<double>& x, const std::vector<double>& y, double* at) {
    if (x.size() < 3) return false;
    double mean = 0;
    for (const double value : x) mean += value / static_cast<double>(x.size());
    // Normal equations of y ~ a + b u + c u^2 with u = x - mean, where sum u = 0.
    double n = static_cast<double>(x.size()), u2 = 0, u3 = 0, u4 = 0, sy = 0, suy = 0, su2y = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double u = x[i] - mean;
      u2 += u * u;
      u3 += u * u * u;
      u4 += u * u * u * u;
      sy += y[i];
      suy += u * y[i];
      su2y += u * u * y[i];
    }
    // b = (suy - c u3) / u2 and a = (sy - c u2) / n, so c (u4 - u3^2 / u2 - u2^2 / n) = su2y - suy u3 / u2 - sy u2 / n.
    if (u2 == 0) return false;
    const double determinant = u4 - u3 * u3 / u2 - u2 * u2 / n;
    if (!(determinant > 1e-12 * u4)) return false;
    const double c = (su2y - suy * u3 / u2 - sy * u2 / n) / determinant;
    if (!(c > 0)) return false;
    *at = mean - (suy - c * u3) / u2 / (2 * c);
    return true;
  }

  const Model& model_;
  const QuantizedModel& start_;
  const at::Tensor& images_;
  const JointScalesOptions& options_;
  JointScalesResult result_;
  Best best_;
  double lowest_ = std::numeric_limits<double>::infinity();
  std::unique_ptr<Observer> observer_;
  std::vector<at::Tensor> logits_;
};

}  // namespace

absl::StatusOr<JointScalesResult> SearchJointScales(const Model& float_model, const QuantizedModel& quantized,
                                                    const at::Tensor& images, const JointScalesOptions& options) {
  LOWBIT_CHECK(images.dim() == 4 && images.size(0) > 0, "images must be [N, C, H, W], N >= 1");
  return Search(float_model, quantized, images, options).Run();
}

}  // namespace lowbit
