#include "pipeline/plan_text.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/table.h"

namespace lowbit {
namespace {

// The step's name; "lapq / bias_correction" where a sweep puts one or the other there.
std::string StepName(const RunPlan& plan, int index) {
  std::set<std::string> names;
  for (const PlannedStep& step : plan.steps) {
    if (step.index == index) names.insert(step.step->name());
  }
  const StepConfig& config = plan.config.steps(index);
  if (names.empty() && config.kind_case() != StepConfig::KIND_NOT_SET) {
    names.emplace(StepConfig::descriptor()->FindFieldByNumber(config.kind_case())->name());
  }
  return names.empty() ? "an empty step" : absl::StrJoin(names, " / ");
}

// "quantize", "equalize (skipped)", "equalize (skipped by some)".
std::string StepsText(const RunPlan& plan) {
  std::vector<std::string> names;
  for (int i = 0; i < plan.config.steps_size(); ++i) {
    std::string name = StepName(plan, i);
    const auto done = std::count_if(plan.variants.begin(), plan.variants.end(), [&](const PlannedVariant& variant) {
      return std::any_of(variant.path.begin(), variant.path.end(),
                         [&](int number) { return plan.steps[static_cast<size_t>(number)].index == i; });
    });
    if (done == 0) {
      absl::StrAppend(&name, " (skipped)");
    } else if (done < static_cast<int64_t>(plan.variants.size())) {
      absl::StrAppend(&name, " (skipped by some)");
    }
    names.push_back(std::move(name));
  }
  return absl::StrJoin(names, ", ");
}

std::string SweepText(const RunPlan& plan) {
  const std::vector<int>& path = plan.variants.front().path;
  const auto shared = std::count_if(
      path.begin(), path.end(), [&](int number) { return plan.steps[static_cast<size_t>(number)].label.text.empty(); });
  const std::string once =
      absl::StrCat("the first ", shared, shared == 1 ? " step is" : " steps are", " done once for all");
  std::string text;
  for (const SweepAxis& axis : plan.axes) {
    absl::StrAppend(&text, "sweep   ", axis.column, " = ", absl::StrJoin(axis.values, ", "),
                    plan.axes.size() == 1 ? absl::StrCat("; ", once) : "", "\n");
  }
  if (plan.axes.size() <= 1) return text;
  size_t one_by_one = 0;
  for (const PlannedVariant& variant : plan.variants) one_by_one += variant.path.size();
  absl::StrAppend(&text, "        ", plan.variants.size(), " variants");
  if (plan.left_out > 0) absl::StrAppend(&text, ", ", plan.left_out, " combinations left out");
  absl::StrAppend(&text, "; ", once, "; ", plan.steps.size(), " steps in all instead of ", one_by_one, "\n");
  return text;
}

std::string LayersText(const std::vector<PlannedTensor>& quantization) {
  TableRows rows = {{"layer", "weights", "activations", "from"}};
  for (const PlannedTensor& tensor : quantization) {
    rows.push_back({tensor.layer, tensor.weight, tensor.activation, tensor.read_tensor});
  }
  return AlignedTable(rows);
}

// A line for each of the first few.
std::string NamesText(const RunPlan& plan, const std::vector<std::string>& variants) {
  constexpr size_t kMostNames = 4;
  std::string text;
  for (size_t i = 0; i < variants.size() && i < kMostNames; ++i) {
    absl::StrAppend(&text, plan.axes.size() == 1 ? plan.axes[0].column + " = " : "", variants[i], "\n");
  }
  if (variants.size() > kMostNames) absl::StrAppend(&text, "and ", variants.size() - kMostNames, " more\n");
  return text;
}

}  // namespace

std::string PlanText(const RunPlan& plan) {
  const ModelConfig& model = plan.config.model();
  std::string text = absl::StrCat("config  ", plan.config.name(), "\n");
  std::string file = model.weights();
  if (!model.quantized_model().empty()) file = model.quantized_model();
  if (!model.torch_int8_model().empty()) file = model.torch_int8_model();
  const Graph& graph = plan.starts.front().model.model.graph;
  absl::StrAppend(&text, "model   ", file.empty() ? "untrained" : file, ", ", graph.size(), " layers, ",
                  ParameterCount(graph), " parameters\n", "steps   ", StepsText(plan), "\n", SweepText(plan));
  // Tables in the order of the first variant that has them.
  struct Table {
    std::string layers;
    std::vector<std::string> variants;
  };
  std::vector<Table> tables;
  std::map<std::string, size_t> known;
  for (const PlannedVariant& variant : plan.variants) {
    if (variant.quantization.empty()) continue;
    const std::string layers = LayersText(variant.quantization);
    const auto [at, is_new] = known.emplace(layers, tables.size());
    if (is_new) tables.push_back({layers, {}});
    tables[at->second].variants.push_back(variant.label.text);
  }
  for (const Table& table : tables) {
    absl::StrAppend(&text, "\n");
    if (!plan.axes.empty()) absl::StrAppend(&text, NamesText(plan, table.variants));
    absl::StrAppend(&text, table.layers);
  }
  return text;
}

}  // namespace lowbit
