#include "sensitivity/report.h"

#include <algorithm>

#include "nlohmann/json.hpp"

namespace lowbit {
namespace {

using nlohmann::ordered_json;

ordered_json EffectJson(const Effect& effect) {
  return {{"output_sqnr_db", effect.output_sqnr_db},
          {"output_cosine", effect.output_cosine},
          {"kl", effect.kl},
          {"same_top1", effect.same_top1}};
}

ordered_json TensorJson(const TensorAtWidth& tensor) {
  return {{"lowest_level", tensor.low}, {"highest_level", tensor.high}, {"clipped", tensor.clipped}};
}

ordered_json WidthJson(const LayerAtWidth& width) {
  ordered_json json = {{"bits", width.bits}};
  if (width.weight) {
    json["weight"] = TensorJson(*width.weight);
    json["weight"]["sqnr_db"] = width.weight_sqnr_db;
  }
  if (width.activation) json["activation"] = TensorJson(*width.activation);
  if (width.weight_alone) json["weight_alone"] = EffectJson(*width.weight_alone);
  if (width.activation_alone) json["activation_alone"] = EffectJson(*width.activation_alone);
  if (width.both) json["both"] = EffectJson(*width.both);
  return json;
}

ordered_json LayerJson(const LayerSensitivity& layer) {
  ordered_json json = {{"layer", layer.name},
                       {"reads", layer.reads},
                       {"shares_it_with", layer.sharing},
                       {"weights", layer.weights},
                       {"macs", layer.macs},
                       {"weight_min", layer.weight_min},
                       {"weight_max", layer.weight_max},
                       {"activation_min", layer.activation_min},
                       {"activation_max", layer.activation_max},
                       {"activation_histogram", layer.activation_bars.counts}};
  json["widths"] = ordered_json::array();
  for (const LayerAtWidth& width : layer.widths) json["widths"].push_back(WidthJson(width));
  return json;
}

}  // namespace

std::vector<const LayerSensitivity*> SensitivityReport::ByHarm() const {
  std::vector<const LayerSensitivity*> order;
  for (const LayerSensitivity& layer : layers) order.push_back(&layer);
  std::stable_sort(order.begin(), order.end(), [](const LayerSensitivity* a, const LayerSensitivity* b) {
    return a->widths.back().whole().kl > b->widths.back().whole().kl;
  });
  return order;
}

std::string SensitivityJson(const SensitivityReport& report) {
  const auto name = [](const std::string& quantizer) { return quantizer.empty() ? "float" : quantizer; };
  ordered_json json = {{"weight_quantizer", name(report.weight_quantizer)},
                       {"activation_quantizer", name(report.activation_quantizer)},
                       {"bits", report.bits},
                       {"images", report.images}};
  json["order"] = "by KL at the smallest width, the largest first";
  json["layers"] = ordered_json::array();
  for (const LayerSensitivity* layer : report.ByHarm()) json["layers"].push_back(LayerJson(*layer));
  // Names may hold bytes that are no UTF-8, which JSON cannot.
  return json.dump(1, ' ', /*ensure_ascii=*/false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace lowbit
