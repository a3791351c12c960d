#include "sensitivity/measure.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "evaluation/answer_change.h"
#include "model/executor.h"
#include "model/passes/segment.h"
#include "model/torch_boundary.h"
#include "quant/fake_quant_model.h"
#include "quant/fake_quantize.h"
#include "quant/quantize_layer.h"
#include "sensitivity/distortion.h"

namespace lowbit {
namespace {

constexpr int kBars = 60;

// By index of a layer (or of a producer) and bits.
using Key = std::pair<int, int>;

// The sums of one experiment.
struct Sums {
  std::map<int, Distortion> outputs;  // by layer
  AnswerChange answers;
};

// In the float run from a cut: shows what the experiments from there on are held against.
class FloatHook : public LayerHook {
 public:
  using See = std::function<void(int layer, const at::Tensor& y)>;
  FloatHook(int cut, See see) : cut_(cut), see_(std::move(see)) {}
  at::Tensor OnOutput(int layer, at::Tensor y) override {
    see_(cut_ + layer, y);
    return y;
  }

 private:
  const int cut_;
  const See see_;
};

// In an experiment: quantizes one tensor, and compares the outputs of some layers with the float ones.
class ExperimentHook : public LayerHook {
 public:
  // `params` may be null: no tensor. Indices are those of the whole network.
  ExperimentHook(int cut, int producer, const QuantParams* params, const std::map<int, at::Tensor>& outputs,
                 std::map<int, Distortion>* sums)
      : cut_(cut), producer_(producer), params_(params), outputs_(outputs), sums_(sums) {}

  at::Tensor OnOutput(int layer, at::Tensor y) override {
    const auto sum = sums_->find(cut_ + layer);
    if (sum != sums_->end()) sum->second.Add(outputs_.at(sum->first), y);
    if (params_ != nullptr && cut_ + layer == producer_) return FakeQuantizeInPlace(std::move(y), *params_);
    return y;
  }

 private:
  const int cut_;
  const int producer_;
  const QuantParams* const params_;
  const std::map<int, at::Tensor>& outputs_;
  std::map<int, Distortion>* const sums_;
};

StatsRequest Looks() {
  StatsRequest request;
  request.min_max = true;
  request.histogram = true;
  return request;
}

}  // namespace

class SensitivityMeasure::Impl {
 public:
  Impl(const Model& model, SensitivityOptions options) : model_(model), options_(std::move(options)) {}

  absl::Status Prepare(const std::map<std::string, TensorStatistics>* statistics,
                       const std::map<std::string, InputStatistics>* inputs);
  int64_t experiments() const;
  absl::Status Observe(const at::Tensor& images, const std::function<absl::Status()>& on_experiment);
  absl::StatusOr<SensitivityReport> Finish();

 private:
  // The layers whose inputs lie after one cut and before the next.
  struct Group {
    int cut = 0;
    std::map<int, std::vector<int>> readers;  // by producer: the measured layers that read it
    int next_cut = -1;                        // of the next group
  };

  absl::Status Quantize(const std::map<std::string, TensorStatistics>* statistics,
                        const std::map<std::string, InputStatistics>* inputs);
  absl::StatusOr<at::Tensor> RunFloat(const Group& group, const Executor& executor, const at::Tensor& x,
                                      std::map<int, at::Tensor>* outputs, at::Tensor* at_next_cut);
  absl::Status RunGroup(const Group& group, const Model& after, const Executor& executor, const at::Tensor& x,
                        const at::Tensor& logits, const std::map<int, at::Tensor>& outputs,
                        const std::function<absl::Status()>& on_experiment);
  absl::Status Experiment(const Group& group, const Executor& executor, const at::Tensor& x, const at::Tensor& logits,
                          const std::map<int, at::Tensor>& outputs, int producer, int bits, Sums* sums);
  LayerAtWidth AtWidth(const LayerSensitivity& layer, int bits) const;
  int Producer(int layer) const { return model_.graph.layer(layer).inputs.front(); }
  const at::Tensor& Weight(int layer) const {
    return model_.parameters.at(ParameterName(model_.graph.layer(layer).name, "weight"));
  }

  const Model model_;
  const SensitivityOptions options_;
  std::optional<Executor> executor_;
  std::vector<Group> groups_;
  std::map<Key, PackedWeight> packed_;
  std::map<Key, QuantParams> params_;

  std::map<Key, Sums> weight_sums_, activation_sums_, both_sums_;
  std::map<int, TensorStatistics> activations_;  // over the images seen
  std::map<Key, int64_t> clipped_;               // values of activations
  std::vector<at::Tensor> logits_;
};

absl::Status SensitivityMeasure::Impl::Quantize(const std::map<std::string, TensorStatistics>* statistics,
                                                const std::map<std::string, InputStatistics>* inputs) {
  if (options_.weights != nullptr) {
    // Packed in an overlay of its own: one weight at a time.
    LOWBIT_ASSIGN_OR_RETURN(QuantizedModel overlay, ToQuantizedModel(model_));
    Progress progress("sensitivity: quantize", static_cast<int64_t>(options_.layers.size()), "layers");
    for (const int layer : options_.layers) {
      for (const int bits : options_.bits) {
        LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
        LOWBIT_ASSIGN_OR_RETURN(const QuantizedTensor tensor,
                                QuantizeLayerWeight(*options_.weights, model_, inputs, layer, bits));
        const std::string& name = model_.graph.layer(layer).name;
        LOWBIT_RETURN_IF_ERROR(SetWeight(name, tensor, &overlay));
        packed_[{layer, bits}] = overlay.weights.at(name);
      }
      progress.Advance(1);
    }
  }
  for (const Group& group : groups_) {
    for (const auto& [producer, readers] : group.readers) {
      activations_.emplace(producer, Looks());
      if (options_.activations == nullptr) continue;
      for (const int bits : options_.bits) {
        LOWBIT_ASSIGN_OR_RETURN(const QuantParams params,
                                FitLayerActivation(*options_.activations, model_.graph, statistics, producer, bits));
        params_[{producer, bits}] = params;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status SensitivityMeasure::Impl::Prepare(const std::map<std::string, TensorStatistics>* statistics,
                                               const std::map<std::string, InputStatistics>* inputs) {
  LOWBIT_CHECK(options_.weights != nullptr || options_.activations != nullptr, "nothing to quantize with");
  const Shape& output = model_.graph.output_shape(model_.graph.size() - 1);
  if (output.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the network puts out ", ShapeToString(output), ", not a number for each class"));
  }
  LOWBIT_ASSIGN_OR_RETURN(executor_, Executor::Create(model_.graph, model_.parameters));
  std::map<int, Group> groups;
  for (const int layer : options_.layers) {
    const int producer = Producer(layer);
    const int cut = LastCut(model_.graph, producer + 1, model_.graph.size() - 1);
    groups[cut].cut = cut;
    groups[cut].readers[producer].push_back(layer);
  }
  for (auto& [cut, group] : groups) {
    if (!groups_.empty()) groups_.back().next_cut = cut;
    groups_.push_back(std::move(group));
  }
  LOWBIT_RETURN_IF_ERROR(Quantize(statistics, inputs));
  for (const int bits : options_.bits) {
    for (const int layer : options_.layers) {
      const Key key = {layer, bits};
      if (options_.weights != nullptr) weight_sums_[key].outputs[layer] = {};
      if (options_.activations != nullptr) activation_sums_[{Producer(layer), bits}].outputs[layer] = {};
      if (options_.weights != nullptr && options_.activations != nullptr) both_sums_[key].outputs[layer] = {};
    }
  }
  return absl::OkStatus();
}

int64_t SensitivityMeasure::Impl::experiments() const {
  return static_cast<int64_t>(weight_sums_.size() + activation_sums_.size() + both_sums_.size());
}

absl::Status SensitivityMeasure::Impl::Observe(const at::Tensor& images,
                                               const std::function<absl::Status()>& on_experiment) {
  at::Tensor x = images;
  at::Tensor logits;
  int at_cut = 0;
  // From the first group's cut on if that is not the images themselves.
  if (groups_.front().cut != 0) {
    at::Tensor kept;
    FloatHook hook(0, [&](int layer, const at::Tensor& y) {
      if (layer == groups_.front().cut) kept = y.clone();
    });
    LOWBIT_RETURN_IF_ERROR(executor_->Forward(images, &hook).status());
    x = kept;
  }
  for (const Group& group : groups_) {
    at_cut = group.cut;
    const Model after = Segment(model_, at_cut, model_.graph.size() - 1);
    LOWBIT_ASSIGN_OR_RETURN(const Executor executor, Executor::Create(after.graph, after.parameters));
    std::map<int, at::Tensor> outputs;
    at::Tensor next;
    LOWBIT_ASSIGN_OR_RETURN(const at::Tensor here, RunFloat(group, executor, x, &outputs, &next));
    if (!logits.defined()) {
      logits = here;
      AnswerChange check;
      const absl::Status finite = check.Add(logits, logits);
      if (!finite.ok()) return absl::InvalidArgumentError(absl::StrCat("in float: ", finite.message()));
      logits_.push_back(logits);
    }
    LOWBIT_RETURN_IF_ERROR(RunGroup(group, after, executor, x, logits, outputs, on_experiment));
    x = next;
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> SensitivityMeasure::Impl::RunFloat(const Group& group, const Executor& executor,
                                                              const at::Tensor& x, std::map<int, at::Tensor>* outputs,
                                                              at::Tensor* at_next_cut) {
  std::set<int> layers;
  for (const auto& [producer, readers] : group.readers) layers.insert(readers.begin(), readers.end());
  absl::Status status;
  FloatHook hook(group.cut, [&](int layer, const at::Tensor& y) {
    if (layers.count(layer) > 0) outputs->emplace(layer, y.clone());
    if (layer == group.next_cut) *at_next_cut = y.clone();
    if (group.readers.count(layer) == 0 || !status.ok()) return;
    status = activations_.at(layer).Observe(y);
    if (!status.ok()) {
      const std::string& name = model_.graph.layer(layer).name;
      status = absl::Status(status.code(), absl::StrCat("output of ", name, ": ", status.message()));
    }
    for (const int bits : options_.bits) {
      const auto params = params_.find({layer, bits});
      if (params != params_.end()) clipped_[params->first] += CountClipped(y, GridRanges(params->second));
    }
  });
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor logits, executor.Forward(x, &hook));
  LOWBIT_RETURN_IF_ERROR(status);
  return logits;
}

absl::Status SensitivityMeasure::Impl::RunGroup(const Group& group, const Model& after, const Executor& executor,
                                                const at::Tensor& x, const at::Tensor& logits,
                                                const std::map<int, at::Tensor>& outputs,
                                                const std::function<absl::Status()>& on_experiment) {
  for (const auto& [producer, readers] : group.readers) {
    for (const int bits : options_.bits) {
      if (options_.activations != nullptr) {
        LOWBIT_RETURN_IF_ERROR(
            Experiment(group, executor, x, logits, outputs, producer, bits, &activation_sums_.at({producer, bits})));
        LOWBIT_RETURN_IF_ERROR(on_experiment());
      }
      for (const int layer : readers) {
        const auto packed = packed_.find({layer, bits});
        if (packed == packed_.end()) continue;
        ParameterMap parameters = after.parameters;
        parameters[ParameterName(model_.graph.layer(layer).name, "weight")] =
            Dequantize(UnpackWeight(packed->second), packed->second.params);
        LOWBIT_ASSIGN_OR_RETURN(const Executor changed, Executor::Create(after.graph, std::move(parameters)));
        LOWBIT_RETURN_IF_ERROR(
            Experiment(group, changed, x, logits, outputs, -1, bits, &weight_sums_.at({layer, bits})));
        LOWBIT_RETURN_IF_ERROR(on_experiment());
        if (options_.activations == nullptr) continue;
        LOWBIT_RETURN_IF_ERROR(
            Experiment(group, changed, x, logits, outputs, producer, bits, &both_sums_.at({layer, bits})));
        LOWBIT_RETURN_IF_ERROR(on_experiment());
      }
    }
  }
  return absl::OkStatus();
}

absl::Status SensitivityMeasure::Impl::Experiment(const Group& group, const Executor& executor, const at::Tensor& x,
                                                  const at::Tensor& logits, const std::map<int, at::Tensor>& outputs,
                                                  int producer, int bits, Sums* sums) {
  ExperimentHook hook(group.cut, producer, producer < 0 ? nullptr : &params_.at({producer, bits}), outputs,
                      &sums->outputs);
  LOWBIT_ASSIGN_OR_RETURN(const at::Tensor changed, executor.Forward(x, &hook));
  const absl::Status status = sums->answers.Add(logits, changed);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat("with \"", model_.graph.layer(sums->outputs.begin()->first).name,
                                                 "\" at ", bits, " bits ", status.message()));
}

LayerAtWidth SensitivityMeasure::Impl::AtWidth(const LayerSensitivity& layer, int bits) const {
  const auto effect = [&](const Sums& sums) {
    const Distortion& output = sums.outputs.at(layer.layer);
    return Effect{output.sqnr_db(), output.cosine(), sums.answers.kl(), sums.answers.same_top1()};
  };
  const auto tensor = [](const QuantParams& params, int64_t clipped, int64_t values) {
    TensorAtWidth at_width;
    const std::vector<GridRange> ranges = GridRanges(params);
    at_width.low = ranges.front().low;
    at_width.high = ranges.front().high;
    for (const GridRange& range : ranges) {
      at_width.low = std::min(at_width.low, range.low);
      at_width.high = std::max(at_width.high, range.high);
    }
    at_width.clipped = static_cast<double>(clipped) / static_cast<double>(values);
    at_width.levels = GridLevels(params);
    return at_width;
  };
  LayerAtWidth result;
  result.bits = bits;
  const Key key = {layer.layer, bits};
  const Key read = {layer.producer, bits};
  if (packed_.count(key) > 0) {
    const PackedWeight& packed = packed_.at(key);
    const at::Tensor& weight = Weight(layer.layer);
    const std::vector<GridRange> ranges = GridRanges(packed.params);
    result.weight = tensor(packed.params, CountClipped(weight, ranges), weight.numel());
    result.weight_places = MakePlaceBars(weight, ranges, kBars);
    Distortion distortion;
    distortion.Add(weight, Dequantize(UnpackWeight(packed), packed.params));
    result.weight_sqnr_db = distortion.sqnr_db();
    result.weight_alone = effect(weight_sums_.at(key));
  }
  if (params_.count(read) > 0) {
    const auto clipped = clipped_.find(read);
    result.activation = tensor(params_.at(read), clipped == clipped_.end() ? 0 : clipped->second,
                               activations_.at(layer.producer).values());
    result.activation_alone = effect(activation_sums_.at(read));
  }
  if (both_sums_.count(key) > 0) result.both = effect(both_sums_.at(key));
  return result;
}

absl::StatusOr<SensitivityReport> SensitivityMeasure::Impl::Finish() {
  LOWBIT_CHECK(!logits_.empty(), "no image was seen");
  SensitivityReport report;
  if (options_.weights != nullptr) report.weight_quantizer = options_.weights->name();
  if (options_.activations != nullptr) report.activation_quantizer = options_.activations->name();
  report.bits = options_.bits;
  for (const int index : options_.layers) {
    const Layer& layer = model_.graph.layer(index);
    LayerSensitivity found;
    found.layer = index;
    found.producer = Producer(index);
    found.name = layer.name;
    found.reads = model_.graph.layer(found.producer).name;
    for (const int other : options_.layers) {
      if (other != index && Producer(other) == found.producer) found.sharing.push_back(model_.graph.layer(other).name);
    }
    found.macs = Macs(layer.op, model_.graph.output_shape(index));
    const at::Tensor weight = Weight(index).contiguous();
    found.weights = weight.numel();
    const float* const values = weight.data_ptr<float>();
    const auto [least, most] = std::minmax_element(values, values + weight.numel());
    found.weight_min = *least;
    found.weight_max = *most;
    const TensorStatistics& read = activations_.at(found.producer);
    found.activation_min = read.min();
    found.activation_max = read.max();
    found.activation_bars = MakeBars(read.histogram(), read.min(), read.max(), kBars);
    for (const int bits : options_.bits) found.widths.push_back(AtWidth(found, bits));
    report.layers.push_back(std::move(found));
  }
  report.packed = std::move(packed_);
  report.params = std::move(params_);
  report.parameters = model_.parameters;
  LOWBIT_ASSIGN_OR_RETURN(report.logits, CatchTorch([&] { return at::cat(logits_); }));
  report.images = report.logits.size(0);
  return report;
}

SensitivityMeasure::SensitivityMeasure(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SensitivityMeasure::~SensitivityMeasure() = default;

absl::StatusOr<std::unique_ptr<SensitivityMeasure>> SensitivityMeasure::Create(
    const Model& model, const std::map<std::string, TensorStatistics>* statistics,
    const std::map<std::string, InputStatistics>* inputs, const SensitivityOptions& options) {
  auto impl = std::make_unique<Impl>(model, options);
  LOWBIT_RETURN_IF_ERROR(impl->Prepare(statistics, inputs));
  return std::unique_ptr<SensitivityMeasure>(new SensitivityMeasure(std::move(impl)));
}

int64_t SensitivityMeasure::experiments() const { return impl_->experiments(); }

absl::Status SensitivityMeasure::Observe(const at::Tensor& images, const std::function<absl::Status()>& on_experiment) {
  return impl_->Observe(images, on_experiment);
}

absl::StatusOr<SensitivityReport> SensitivityMeasure::Finish() { return impl_->Finish(); }

}  // namespace lowbit
