#include "model/summary.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lowbit {
namespace {

constexpr size_t kColumns = 5;
constexpr size_t kFirstNumber = 3;  // Columns from this one on are numbers and flush right.
using Row = std::array<std::string, kColumns>;

// 40813184 -> "40,813,184".
std::string WithCommas(int64_t number) {
  std::string text = std::to_string(number);
  for (size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

std::string RowToString(const Row& row, const std::array<size_t, kColumns>& widths) {
  std::string line;
  for (size_t c = 0; c < kColumns; ++c) {
    const std::string padding(widths[c] - row[c].size(), ' ');
    absl::StrAppend(&line, c == 0 ? "" : "  ", c < kFirstNumber ? row[c] + padding : padding + row[c]);
  }
  return line + "\n";
}

}  // namespace

std::string Summary(const Graph& graph) {
  std::vector<Row> rows = {{"layer", "operation", "output", "parameters", "MACs"}};
  for (int i = 0; i < graph.size(); ++i) {
    const Layer& layer = graph.layer(i);
    rows.push_back({layer.name, std::string(OpName(layer.op)), ShapeToString(graph.output_shape(i)),
                    WithCommas(ParameterCount(layer.op)), WithCommas(Macs(layer.op, graph.output_shape(i)))});
  }
  rows.push_back(
      {"total", absl::StrCat(graph.size(), " layers"), "", WithCommas(ParameterCount(graph)), WithCommas(Macs(graph))});
  std::array<size_t, kColumns> widths{};
  for (const Row& row : rows) {
    for (size_t c = 0; c < kColumns; ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string table;
  for (const Row& row : rows) absl::StrAppend(&table, RowToString(row, widths));
  return table;
}

}  // namespace lowbit
