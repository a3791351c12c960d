#ifndef LOWBIT_PIPELINE_REPORT_H_
#define LOWBIT_PIPELINE_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "evaluation/evaluator.h"
#include "nlohmann/json.hpp"
#include "pipeline/pivot_table.h"

namespace lowbit {

// One line of the table.
struct EvaluationRow {
  std::string variant;  // The sweep's value, or "bits=4,seed=1" of several; empty where it is the same for all.
  std::string name;     // From the config; may be empty.
  bool quantized = false;
  int64_t weight_bytes = 0;  // of convolutions and linear layers, as stored
  std::string same_as;       // the variant whose evaluation this is too, since both are the same network; else empty
  EvaluationResult result;

  // What the table calls it: the value, the name, "float" or "quantized".
  std::string label() const;
};

// What a run has to tell in the end, in the order in which it came about.
struct Report {
  std::string config;            // the run's name
  std::string status = "done";   // or "interrupted", or "failed: <why>": then this is what was done until then
  std::string column = "model";  // over the rows' labels
  std::vector<std::string> class_names;
  std::vector<EvaluationRow> rows;

  // One object per step done: {"step": "fold", "variant": "4", "seconds": 0.1, ...} and what the step adds.
  std::vector<nlohmann::ordered_json> steps;

  // One object per packed model: {"file", "variant", "weight_bytes", "file_bytes"}.
  std::vector<nlohmann::ordered_json> models;

  PivotTable table;  // without pages: the config wants none
};

// Aligned columns for a terminal; ends with a newline. Scores are fractions, precision, recall and F1 macro averages.
// Empty if nothing was evaluated.
std::string ReportTable(const Report& report);

// What the step that runs now, the report's last one, calls a file of its own: `name`, or `<name>-2` if it is the
// second step of its kind in this variant, and so on.
std::string NameOfItsOwn(const std::string& name, const Report& report);

// How well the classes of a row are told apart. A class's recall is its accuracy.
std::string PerClassTable(const EvaluationRow& row, const std::vector<std::string>& class_names);

// The row's most confident mistakes, as many as were kept.
std::string MistakesTable(const EvaluationRow& row, const std::vector<std::string>& class_names);

// The tables, and all averages, the classes, the confusion matrices and what the steps said, in Markdown. Of many rows
// (kMostDetailedRows) only their table: the JSON has the rest.
constexpr size_t kMostDetailedRows = 50;
std::string ReportMarkdown(const Report& report);

// Everything.
std::string ReportJson(const Report& report);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_REPORT_H_
