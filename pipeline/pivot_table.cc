#include "pipeline/pivot_table.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/did_you_mean.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/table.h"

namespace lowbit {
namespace {

using nlohmann::ordered_json;

class LayoutReader {
 public:
  explicit LayoutReader(const std::vector<SweepAxis>& axes) : axes_(axes), place_(axes.size()) {}

  // The axis of this name, which stands at `field` from now on.
  absl::StatusOr<int> Take(const std::string& name, const std::string& field) {
    std::vector<std::string> known;
    for (size_t i = 0; i < axes_.size(); ++i) {
      known.push_back(axes_[i].column);
      if (axes_[i].column != name) continue;
      if (!place_[i].empty()) return FieldError(field, absl::StrCat("\"", name, "\" stands in ", place_[i], " too"));
      place_[i] = field;
      return static_cast<int>(i);
    }
    return FieldError(field, UnknownNameMessage("sweep", name, known));
  }

  absl::Status CheckAllAreTaken() const {
    for (size_t i = 0; i < axes_.size(); ++i) {
      if (!place_[i].empty() || axes_[i].values.size() == 1) continue;
      return absl::InvalidArgumentError(absl::StrCat("does not say where the values of the sweep \"", axes_[i].column,
                                                     "\" stand: rows, columns, pages or mean_over"));
    }
    return absl::OkStatus();
  }

 private:
  const std::vector<SweepAxis>& axes_;
  std::vector<std::string> place_;  // of each axis; empty: none yet
};

// All combinations of the values of some axes, the last axis' values changing fastest. Without an axis there is one,
// which is empty.
std::vector<std::vector<int>> Combinations(const std::vector<SweepAxis>& axes, const std::vector<int>& which) {
  std::vector<std::vector<int>> all = {{}};
  for (const int axis : which) {
    std::vector<std::vector<int>> longer;
    for (const std::vector<int>& one : all) {
      for (int value = 0; value < static_cast<int>(axes[static_cast<size_t>(axis)].values.size()); ++value) {
        longer.push_back(one);
        longer.back().push_back(value);
      }
    }
    all = std::move(longer);
  }
  return all;
}

std::vector<int> Select(const std::vector<int>& choice, const std::vector<int>& axes) {
  std::vector<int> selected;
  for (const int axis : axes) selected.push_back(choice[static_cast<size_t>(axis)]);
  return selected;
}

void Count(const VariantScore& score, PivotCell* cell) {
  ++cell->planned;
  if (!score.done) return;
  cell->smallest = cell->done == 0 ? score.top1 : std::min(cell->smallest, score.top1);
  cell->largest = cell->done == 0 ? score.top1 : std::max(cell->largest, score.top1);
  // The mean of the first n is that of the first n - 1 and a step towards the n-th.
  ++cell->done;
  cell->mean += (score.top1 - cell->mean) / cell->done;
}

std::string CellText(const PivotCell& cell, bool with_spread) {
  if (cell.planned == 0) return "-";
  std::string text;
  if (cell.done > 0) {
    text = absl::StrFormat("%.2f", 100 * cell.mean);
    if (with_spread && cell.done > 1) absl::StrAppendFormat(&text, " (%.2f)", 100 * (cell.largest - cell.smallest));
  }
  if (cell.done < cell.planned) {
    absl::StrAppend(&text, text.empty() ? "" : " ", "[", cell.done, "/", cell.planned, "]");
  }
  return text;
}

bool IsPlanned(const PivotCell& cell) { return cell.planned > 0; }

// Without the rows and columns that are wholly left out on this page.
TableRows PageRows(const PivotTable& table, const PivotPage& page) {
  std::vector<size_t> columns;
  for (size_t i = 0; i < table.heads.size(); ++i) {
    if (std::any_of(page.rows.begin(), page.rows.end(), [&](const PivotRow& row) { return IsPlanned(row.cells[i]); })) {
      columns.push_back(i);
    }
  }
  TableRows rows = {{table.rows}};
  for (const size_t column : columns) rows.back().push_back(table.heads[column]);
  rows.back().push_back("seconds");
  for (const auto& [label, top1] : table.baselines) {
    rows.push_back({label});
    rows.back().resize(1 + columns.size(), absl::StrFormat("%.2f", 100 * top1));
    rows.back().push_back("");
  }
  for (const PivotRow& row : page.rows) {
    if (std::none_of(row.cells.begin(), row.cells.end(), IsPlanned)) continue;
    rows.push_back({row.label});
    bool any = false;
    for (const size_t column : columns) {
      rows.back().push_back(CellText(row.cells[column], !table.mean_over.empty()));
      any = any || row.cells[column].done > 0;
    }
    rows.back().push_back(any ? absl::StrFormat("%.1f", row.seconds) : "");
  }
  return rows;
}

std::string Title(const PivotPage& page) {
  return absl::StrJoin(page.values, ", ", [](std::string* out, const auto& value) {
    absl::StrAppend(out, value.first, ": ", value.second);
  });
}

std::string Explanation(const PivotTable& table) {
  std::string text = "Top-1 accuracy in percent";
  if (table.images > 0) absl::StrAppend(&text, " of ", table.images, " images");
  if (!table.mean_over.empty()) {
    absl::StrAppend(&text, "; the mean over ", absl::StrJoin(table.mean_over, " and "),
                    ", in brackets the largest less the smallest");
  }
  return absl::StrCat(text,
                      ".\nSeconds: the longest that the quantization of one of the row took, without evaluation. Steps "
                      "that are done once for several,\nsuch as calibration, count in full.\n");
}

}  // namespace

absl::StatusOr<TableLayout> LayOutTable(const TableConfig& config, const std::vector<SweepAxis>& axes) {
  if (axes.empty()) return absl::InvalidArgumentError("is about sweeps, and there is none");
  if (config.rows().empty()) return FieldError("rows", "is missing; it names the sweep whose values have a row each");
  TableLayout layout;
  LayoutReader reader(axes);
  LOWBIT_ASSIGN_OR_RETURN(layout.rows, reader.Take(config.rows(), "rows"));
  if (!config.columns().empty()) {
    LOWBIT_ASSIGN_OR_RETURN(layout.columns, reader.Take(config.columns(), "columns"));
  }
  for (int i = 0; i < config.pages_size(); ++i) {
    LOWBIT_ASSIGN_OR_RETURN(const int axis, reader.Take(config.pages(i), absl::StrCat("pages[", i, "]")));
    layout.pages.push_back(axis);
  }
  for (int i = 0; i < config.mean_over_size(); ++i) {
    LOWBIT_ASSIGN_OR_RETURN(const int axis, reader.Take(config.mean_over(i), absl::StrCat("mean_over[", i, "]")));
    layout.mean_over.push_back(axis);
  }
  LOWBIT_RETURN_IF_ERROR(reader.CheckAllAreTaken());
  return layout;
}

PivotTable MakePivotTable(const TableLayout& layout, const std::vector<SweepAxis>& axes,
                          const std::vector<VariantScore>& scores) {
  const SweepAxis& rows = axes[static_cast<size_t>(layout.rows)];
  PivotTable table;
  table.rows = rows.column;
  table.heads = {"top-1"};
  if (layout.columns >= 0) {
    table.columns = axes[static_cast<size_t>(layout.columns)].column;
    table.heads = axes[static_cast<size_t>(layout.columns)].values;
  }
  for (const int axis : layout.mean_over) table.mean_over.push_back(axes[static_cast<size_t>(axis)].column);

  std::map<std::vector<int>, size_t> page_of;
  for (const std::vector<int>& combination : Combinations(axes, layout.pages)) {
    page_of[combination] = table.pages.size();
    PivotPage page;
    for (size_t i = 0; i < layout.pages.size(); ++i) {
      const SweepAxis& axis = axes[static_cast<size_t>(layout.pages[i])];
      page.values.emplace_back(axis.column, axis.values[static_cast<size_t>(combination[i])]);
    }
    for (const std::string& label : rows.values) {
      page.rows.push_back({label, std::vector<PivotCell>(table.heads.size()), 0});
    }
    table.pages.push_back(std::move(page));
  }
  for (const VariantScore& score : scores) {
    LOWBIT_CHECK(score.choice.size() == axes.size(), "a choice of ", score.choice.size(), " values");
    PivotPage& page = table.pages[page_of.at(Select(score.choice, layout.pages))];
    PivotRow& row = page.rows[static_cast<size_t>(score.choice[static_cast<size_t>(layout.rows)])];
    const int column = layout.columns < 0 ? 0 : score.choice[static_cast<size_t>(layout.columns)];
    Count(score, &row.cells[static_cast<size_t>(column)]);
    if (score.done) row.seconds = std::max(row.seconds, score.work_seconds);
  }
  return table;
}

std::string PivotText(const PivotTable& table) {
  std::string text = Explanation(table);
  for (const PivotPage& page : table.pages) {
    absl::StrAppend(&text, "\n");
    if (!page.values.empty()) absl::StrAppend(&text, Title(page), "\n\n");
    absl::StrAppend(&text, AlignedTable(PageRows(table, page)));
  }
  return text;
}

std::string PivotMarkdown(const PivotTable& table) {
  std::string text = Explanation(table);
  for (const PivotPage& page : table.pages) {
    absl::StrAppend(&text, "\n");
    if (!page.values.empty()) absl::StrAppend(&text, "### ", Title(page), "\n\n");
    absl::StrAppend(&text, MarkdownTable(PageRows(table, page)));
  }
  return text;
}

ordered_json PivotJson(const PivotTable& table) {
  ordered_json baselines = ordered_json::array();
  for (const auto& [label, top1] : table.baselines) baselines.push_back({{"name", label}, {"top1", top1}});
  ordered_json pages = ordered_json::array();
  for (const PivotPage& page : table.pages) {
    ordered_json values = ordered_json::object();
    for (const auto& [column, value] : page.values) values[column] = value;
    ordered_json rows = ordered_json::array();
    for (const PivotRow& row : page.rows) {
      ordered_json cells = ordered_json::array();
      for (size_t i = 0; i < row.cells.size(); ++i) {
        const PivotCell& cell = row.cells[i];
        ordered_json json = {{"column", table.heads[i]}, {"planned", cell.planned}, {"done", cell.done}};
        if (cell.done > 0) {
          json.update({{"mean", cell.mean}, {"smallest", cell.smallest}, {"largest", cell.largest}});
        }
        cells.push_back(std::move(json));
      }
      rows.push_back({{"row", row.label}, {"seconds", row.seconds}, {"cells", std::move(cells)}});
    }
    pages.push_back({{"values", std::move(values)}, {"rows", std::move(rows)}});
  }
  return {{"rows", table.rows},     {"columns", table.columns},          {"mean_over", table.mean_over},
          {"images", table.images}, {"baselines", std::move(baselines)}, {"pages", std::move(pages)}};
}

}  // namespace lowbit
