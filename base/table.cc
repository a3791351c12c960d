#include "base/table.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"

namespace lowbit {
namespace {

struct Column {
  size_t width = 0;
  bool numbers = true;
};

bool IsNumber(absl::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789.,-+%x ()[]/") == absl::string_view::npos;
}

std::vector<Column> Measure(const TableRows& rows) {
  std::vector<Column> columns(rows.front().size());
  for (size_t r = 0; r < rows.size(); ++r) {
    LOWBIT_CHECK(rows[r].size() == columns.size(), "row ", r, " has ", rows[r].size(), " cells");
    for (size_t c = 0; c < columns.size(); ++c) {
      columns[c].width = std::max(columns[c].width, rows[r][c].size());
      if (r > 0 && !rows[r][c].empty() && !IsNumber(rows[r][c])) columns[c].numbers = false;
    }
  }
  columns.front().numbers = false;
  return columns;
}

std::string Pad(const std::string& cell, const Column& column) {
  const std::string space(column.width - cell.size(), ' ');
  return column.numbers ? space + cell : cell + space;
}

}  // namespace

std::string AlignedTable(const TableRows& rows) {
  const std::vector<Column> columns = Measure(rows);
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line, rule;
    for (size_t c = 0; c < columns.size(); ++c) {
      absl::StrAppend(&line, c == 0 ? "" : "  ", Pad(rows[r][c], columns[c]));
      absl::StrAppend(&rule, c == 0 ? "" : "  ", std::string(columns[c].width, '-'));
    }
    absl::StripTrailingAsciiWhitespace(&line);
    absl::StrAppend(&text, line, "\n", r == 0 ? rule + "\n" : "");
  }
  return text;
}

std::string MarkdownTable(TableRows rows) {
  for (auto& row : rows) {
    for (std::string& cell : row) cell = absl::StrReplaceAll(cell, {{"|", "\\|"}});
  }
  const std::vector<Column> columns = Measure(rows);
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line = "|", rule = "|";
    for (size_t c = 0; c < columns.size(); ++c) {
      absl::StrAppend(&line, " ", Pad(rows[r][c], columns[c]), " |");
      absl::StrAppend(&rule, std::string(columns[c].width + 1, '-'), columns[c].numbers ? ":|" : "-|");
    }
    absl::StrAppend(&text, line, "\n", r == 0 ? rule + "\n" : "");
  }
  return text;
}

}  // namespace lowbit
