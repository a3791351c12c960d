#ifndef LOWBIT_PIPELINE_STEP_H_
#define LOWBIT_PIPELINE_STEP_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/channel_moments.h"
#include "model/parameters.h"
#include "pipeline/data_source.h"
#include "pipeline/report.h"
#include "quant/input_statistics.h"
#include "quant/quantized_model.h"
#include "quant/quantizer.h"
#include "quant/statistics.h"
#include "tensorboard/event_writer.h"

namespace lowbit {

class TorchInt8Model;
struct SensitivityPlan;    // pipeline/sensitivity_plan.h
struct SensitivityReport;  // sensitivity/report.h

// What steps leave behind for later ones, and what decides whether an order of steps makes sense.
enum class Fact {
  kWeights,      // the network has weights that mean something
  kTrained,      // this run trained it
  kFolded,       // batch norms are folded
  kStatistics,   // activations were looked at
  kQuantized,    // there is a quantized model
  kFloatTwin,    // and the float network that it was made from is there too
  kTorchInt8,    // there is a model in LibTorch's 8-bit operators
  kSensitivity,  // it was measured what each layer alone does to the network
};

// What is to be known of one layer after the calibration.
struct LayerRequest {
  StatsRequest output;       // of the tensor that it puts out
  WeightStatsRequest input;  // of what it reads, for its weight
  bool images = false;       // the images will be run again to look at it

  void Merge(const StatsRequest& other) { output.Merge(other); }
  void Merge(const WeightStatsRequest& other) { input.Merge(other); }
  void Merge(const LayerRequest& other) {
    output.Merge(other.output);
    input.Merge(other.input);
    images = images || other.images;
  }
};

// By layer name. Statistics are of the tensors that layers put out, inputs of what layers with a weight read.
using StatsRequests = std::map<std::string, LayerRequest>;
using NetworkStatistics = std::map<std::string, TensorStatistics>;
using NetworkInputs = std::map<std::string, InputStatistics>;

// The training images that a calibrate step drew, in its order.
struct CalibrationImages {
  std::vector<int64_t> indices;
  int batch_size;
};

// How one tensor will be quantized, for people to read before anything runs.
struct PlannedTensor {
  std::string layer;        // that has the weight, or that reads the activation
  std::string weight;       // "min_max, 8 bits", or "float"
  std::string activation;   // likewise
  std::string read_tensor;  // the layer that puts the activation out
  // The bits of the weight, at most, if its codes will not be the nearest ones to the weight as given; else 0.
  int chosen_rounding_bits = 0;
};

// Where the run will be when a step begins, as far as it can be known without an image. Steps pass it on changed in the
// way in which they will change the real thing.
struct PlanState {
  DataSource* data;
  Model model;             // Numbers are those of the start; what a train step changes is not known.
  StatsRequests requests;  // All that steps so far will want of an earlier calibrate step.
  std::vector<PlannedTensor> quantization;
  uint64_t seed;
  std::string resume_folder;       // where the step's files are, in a run to go on with; empty: it is a new one
  NetworkMoments moments = {};     // as in RunState
  int64_t calibration_images = 0;  // of the calibrate step
  std::shared_ptr<const SensitivityPlan> sensitivity = nullptr;  // null: no step so far measures it
};

// Where the run is. Copied where a sweep branches: what is shared by pointer is never changed in place, and neither are
// the tensors of `model`.
struct RunState {
  Model model;  // float
  std::shared_ptr<const NetworkStatistics> statistics;
  // Histograms of the same tensors over a few of the images, for people to look at. Null: not wanted, or not made.
  std::shared_ptr<const NetworkStatistics> sample;
  std::shared_ptr<const QuantizedModel> quantized;  // null: `model` is what is evaluated
  std::shared_ptr<const TorchInt8Model> torch_int8;
  // What the folded batch norms said of the outputs of the layers that they were folded into.
  NetworkMoments moments = {};
  // Like `statistics`, from the calibrate step.
  std::shared_ptr<const NetworkInputs> inputs = nullptr;
  std::shared_ptr<const CalibrationImages> calibration = nullptr;
  // The training images that calibrate drew and that reconstruct and distill learned from; some more than once.
  std::vector<int64_t> seen_images = {};
  std::shared_ptr<const SensitivityReport> sensitivity = nullptr;  // null: not measured
};

// What a step may use besides the state.
struct RunContext {
  uint64_t seed;
  DataSource* data;
  StatsRequests requests;  // of all steps to come, in all variants of a sweep
  std::string folder;      // for files of this run (of this variant, in a sweep); may have to be made
  std::string variant;     // as far as it is decided: "4", "bits=4,seed=1"; empty in what is done once for all
  bool resume;
  Report* report;
  EventWriter* events;           // for TensorBoard; null: the config wants none
  const PipelineConfig* config;  // the effective one, with the sweep's value in it
};

// One thing that a run does. Made from its config, immutable; everything it works on is in the states.
class Step {
 public:
  virtual ~Step();

  // As in the config: "fold".
  virtual std::string name() const = 0;

  // What must have been made before, what this makes, and what must not have been made before. The runner holds the
  // order of the steps against it at load time.
  virtual std::vector<Fact> needs() const { return {}; }
  virtual std::vector<Fact> makes() const { return {}; }
  virtual std::vector<Fact> refuses() const { return {}; }

  // Whether what it does may depend on the seed. Where it does not, a sweep of seeds does it once.
  virtual bool uses_seed() const { return true; }

  // Whether its time is part of what a method costs. Not that of steps that only look, or save, or train.
  virtual bool is_quantization_work() const { return true; }

  // Checks all that can be checked before an image is looked at, and changes `plan` as Run will change the state.
  // Errors name a field of the step's message.
  virtual absl::Status Plan(PlanState& plan) const = 0;

  // Does the work. Only called after Plan went well. Long work asks CheckInterrupt() now and then.
  virtual absl::Status Run(const RunContext& context, RunState& state) const = 0;
};

// Whether `fact` is one of those that the step makes.
bool Makes(const Step& step, Fact fact);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_STEP_H_
