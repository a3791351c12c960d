#ifndef LOWBIT_SENSITIVITY_PLOTS_H_
#define LOWBIT_SENSITIVITY_PLOTS_H_

// The plots of the page, as SVG elements. Colours come from classes, which the page's style gives.

#include <string>

#include "absl/strings/string_view.h"
#include "sensitivity/report.h"

namespace lowbit {

// As text or as an attribute's value in HTML.
std::string HtmlEscape(absl::string_view text);

// "0.00012", "1.3": short, for people.
std::string ShortNumber(double x);

// A row for each layer in the order of the network, a panel with a scale of its own for each width: KL with the weight,
// the activation and both quantized.
std::string HarmPlot(const SensitivityReport& report);

// The weight's values over the places in their channel's grid, with the levels; likewise the tensor that the layer
// reads, over its values. Counts are drawn on a logarithmic scale. The tensor must have been quantized.
std::string WeightPlot(const LayerSensitivity& layer, const LayerAtWidth& width);
std::string ActivationPlot(const LayerSensitivity& layer, const LayerAtWidth& width);

}  // namespace lowbit

#endif  // LOWBIT_SENSITIVITY_PLOTS_H_
