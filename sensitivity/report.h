#ifndef LOWBIT_SENSITIVITY_REPORT_H_
#define LOWBIT_SENSITIVITY_REPORT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/parameters.h"
#include "quant/quantized_model.h"
#include "sensitivity/grid.h"

namespace lowbit {

// What one experiment did: some of one layer's tensors quantized, all else float.
struct Effect {
  double output_sqnr_db = 0;  // of the layer's own output; infinite where nothing changed
  double output_cosine = 0;
  double kl = 0;         // of the network's answers, float || quantized, in nats; the mean over the images
  double same_top1 = 0;  // share of the images that get the float network's class
};

// What became of one tensor at one width.
struct TensorAtWidth {
  float low = 0;  // the lowest and the highest level of the grid; of grids by channel those of all of them
  float high = 0;
  double clipped = 0;         // share of the values that lie beyond, by more than half of the outermost step
  std::vector<float> levels;  // of the tensor or of its first channel, ascending; none beyond 8 bits
};

struct LayerAtWidth {
  int bits = 0;
  // Not there: that quantizer was not named.
  std::optional<TensorAtWidth> weight;
  std::optional<TensorAtWidth> activation;
  double weight_sqnr_db = 0;
  Bars weight_places;  // grid.h: MakePlaceBars
  // The experiments.
  std::optional<Effect> weight_alone, activation_alone, both;

  // The one with all that there is.
  const Effect& whole() const { return both ? *both : weight_alone ? *weight_alone : *activation_alone; }
};

struct LayerSensitivity {
  int layer = 0;     // its index
  int producer = 0;  // of the layer whose output it reads
  std::string name;
  std::string reads;                 // the producer's name
  std::vector<std::string> sharing;  // other measured layers that read the same tensor
  int64_t weights = 0;               // how many numbers
  int64_t macs = 0;                  // per image
  float weight_min = 0;
  float weight_max = 0;
  float activation_min = 0;  // over the images
  float activation_max = 0;
  Bars activation_bars;
  std::vector<LayerAtWidth> widths;  // as the report's `bits`
};

struct SensitivityReport {
  std::string weight_quantizer;  // "" for float
  std::string activation_quantizer;
  std::vector<int> bits;  // descending
  int64_t images = 0;
  std::vector<LayerSensitivity> layers;  // in the order of the network

  // For who goes on from here: what was decided, by index (of the layer, of the producer) and bits; the network, by the
  // handles of its numbers; which training images were looked at, and the float network's answers, [images, classes].
  std::map<std::pair<int, int>, PackedWeight> packed;
  std::map<std::pair<int, int>, QuantParams> params;
  ParameterMap parameters;
  std::vector<int64_t> image_order;
  at::Tensor logits;

  // The layers by harm: by KL at the smallest width with all that there is quantized, the largest first; of equal ones
  // the earlier first.
  std::vector<const LayerSensitivity*> ByHarm() const;
};

// Everything but what is for going on. NaN and infinities become null.
std::string SensitivityJson(const SensitivityReport& report);

}  // namespace lowbit

#endif  // LOWBIT_SENSITIVITY_REPORT_H_
