#ifndef LOWBIT_PIPELINE_PIVOT_TABLE_H_
#define LOWBIT_PIPELINE_PIVOT_TABLE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "pipeline/config.pb.h"
#include "pipeline/sweep.h"

namespace lowbit {

// Where the values of each axis (by its index) stand in the table. Axes of one value may stand nowhere.
struct TableLayout {
  int rows = 0;
  int columns = -1;            // -1: there is one column, of all
  std::vector<int> pages;      // a table for each combination of their values
  std::vector<int> mean_over;  // a cell holds the mean over these
};

// InvalidArgument with the field of TableConfig at fault: a name that is no sweep's column or stands there twice, a
// sweep of several values that stands nowhere.
absl::StatusOr<TableLayout> LayOutTable(const TableConfig& config, const std::vector<SweepAxis>& axes);

// What a run found out about one variant.
struct VariantScore {
  std::vector<int> choice;  // of each axis the index of its value
  bool done = false;        // what follows is only there if it was evaluated
  double top1 = 0;          // a fraction
  // Of the steps that make up the quantization, those that are done for several variants at once counted in full.
  double work_seconds = 0;
};

struct PivotCell {
  int planned = 0;  // variants that belong to it; 0: such a combination is left out
  int done = 0;     // of them; the figures are about these
  double mean = 0, smallest = 0, largest = 0;
};

struct PivotRow {
  std::string label;
  std::vector<PivotCell> cells;
  double seconds = 0;  // the most work that any of its variants took
};

struct PivotPage {
  std::vector<std::pair<std::string, std::string>> values;  // "policy", "all"
  std::vector<PivotRow> rows;
};

// Top-1 accuracies of a sweep by the values of its axes.
struct PivotTable {
  std::string rows, columns;                              // the axes' names; `columns` may be empty
  std::vector<std::string> heads;                         // over the cells
  std::vector<std::string> mean_over;                     // names of axes
  std::vector<std::pair<std::string, double>> baselines;  // what no sweep changes: "float", and its top-1
  int64_t images = 0;                                     // that each figure is about; 0: not all about equally many
  std::vector<PivotPage> pages;                           // empty: there is no table
};

// `scores` has all planned variants, done or not. Baselines and images are left to the caller.
PivotTable MakePivotTable(const TableLayout& layout, const std::vector<SweepAxis>& axes,
                          const std::vector<VariantScore>& scores);

// The tables with what their figures mean, for a terminal and in GitHub's Markdown. In percent: "90.17 (0.14)" is the
// mean and the largest less the smallest, "-" a combination that is left out, "90.17 (0.14) [2/3]" the figures of two
// variants of three.
std::string PivotText(const PivotTable& table);
std::string PivotMarkdown(const PivotTable& table);

// Accuracies as fractions.
nlohmann::ordered_json PivotJson(const PivotTable& table);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_PIVOT_TABLE_H_
