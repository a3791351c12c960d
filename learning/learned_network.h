#ifndef LOWBIT_LEARNING_LEARNED_NETWORK_H_
#define LOWBIT_LEARNING_LEARNED_NETWORK_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "learning/learned_weight.h"
#include "model/executor.h"
#include "model/parameters.h"
#include "quant/quantized_model.h"

namespace lowbit {

// How the integers of the weights are found; see learned_weight.h.
enum class LearnedRounding { kUpOrDown, kDivided, kLatent, kAsChosen };

struct LearnedNetworkOptions {
  LearnedRounding rounding = LearnedRounding::kUpOrDown;
  double hold = 0;  // of MakeUpOrDown and MakeLatent
  bool weight_scales = true;
  bool activation_scales = true;
  bool biases = true;
  // Convolutions in bfloat16 (model/executor.h); what is quantized and learned stays in 32 bits.
  bool bfloat16 = false;
};

// What happens to activations on their way through the network.
struct ActivationMode {
  // So much of them stays float, chosen at random by the seed. 0: all are quantized. 1: none is.
  double float_part = 0;
  uint64_t seed = 0;
};

// What came of learning.
struct LearnedCounts {
  int64_t roundings = 0;
  int64_t undecided = 0;  // LearnedWeight::Undecided
  int64_t flipped = 0;    // codes that are not what they were at the start
};

// A quantized network, or a part of one, whose roundings, scales and biases gradients can move. One step:
//
//   network.Write();
//   LOWBIT_ASSIGN_OR_RETURN(at::Tensor y, network.Forward(x, mode));
//   (autograd goes back from y)
//   network.Back();
//   (optimizers move roundings(), weight_scales(), activation_scales(), biases())
//   network.KeepScales();
//
// Neither copied nor used by several threads at once.
class LearnedNetwork {
 public:
  // `float_network`: what `start` was made from, folded. Weights and activations that are float stay so.
  static absl::StatusOr<std::unique_ptr<LearnedNetwork>> Create(const Model& float_network, const QuantizedModel& start,
                                                                const LearnedNetworkOptions& options);

  // Puts the weights in place as they are now.
  void Write();
  // Records what autograd needs, also when called several times before going back. `kept`, if given, gets what the
  // layers that it has names of put out, quantized where it is.
  absl::StatusOr<at::Tensor> Forward(const at::Tensor& x, const ActivationMode& mode,
                                     std::map<std::string, at::Tensor>* kept = nullptr);
  // Turns the gradients of the weights into those of what is learned.
  void Back();
  // LearnedWeight::Regularize of all weights, after Back().
  double Regularize(double weight, double sharpness);
  void KeepScales();

  // From here on weights and biases stay: the weights as they are when they are made integers.
  void FreezeWeights();

  // Leaves for optimizers, by name; empty where the options say that they are not learned.
  const ParameterMap& roundings() const { return roundings_; }
  const ParameterMap& weight_scales() const { return weight_scales_; }
  const ParameterMap& activation_scales() const { return activation_scales_; }
  const ParameterMap& biases() const { return biases_; }

  // Whether there is anything to learn.
  bool learns() const {
    return !roundings_.empty() || !weight_scales_.empty() || !activation_scales_.empty() || !biases_.empty();
  }

  // The quantized network that it comes to.
  absl::StatusOr<QuantizedModel> Harden() const;
  LearnedCounts Count() const;

 private:
  // The scale of the tensor that one layer puts out.
  struct LearnedActivation {
    std::string layer;  // of the quantized network
    QuantParams params;
    at::Tensor factor;  // leaf, [1]: what the scale at the start is multiplied by
    bool relu = false;  // the layer, a relu, is part of the fake quantization
  };

  struct LearnedLayer {
    std::string name;
    std::unique_ptr<LearnedWeight> weight;
    at::Tensor value;  // contiguous
    at::Tensor leaf;   // what the network runs with, in its memory order
  };

  class Hook;

  LearnedNetwork(const QuantizedModel& start, const LearnedNetworkOptions& options)
      : start_(start), options_(options) {}

  absl::StatusOr<Graph> FuseRelus();
  void AddWeight(const Model& float_network, const std::string& name, const PackedWeight& packed,
                 ParameterMap* parameters);

  QuantizedModel start_;
  LearnedNetworkOptions options_;
  std::vector<LearnedLayer> layers_;
  std::map<int, LearnedActivation> activations_;  // by layer of the graph that is run
  std::map<std::string, int> layer_index_;        // in the graph that is run, of the layers of the quantized network
  ParameterMap roundings_, weight_scales_, activation_scales_, biases_;
  std::optional<Executor> executor_;
};

}  // namespace lowbit

#endif  // LOWBIT_LEARNING_LEARNED_NETWORK_H_
