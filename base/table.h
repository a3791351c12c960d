#ifndef LOWBIT_BASE_TABLE_H_
#define LOWBIT_BASE_TABLE_H_

#include <string>
#include <vector>

namespace lowbit {

// Rows of cells, the first row the head. Every row has as many cells as the head.
using TableRows = std::vector<std::vector<std::string>>;

// Columns two spaces apart, the first one flush left, those of numbers flush right; a line under the head.
std::string AlignedTable(const TableRows& rows);

// GitHub's Markdown, readable as it stands too.
std::string MarkdownTable(TableRows rows);

}  // namespace lowbit

#endif  // LOWBIT_BASE_TABLE_H_
