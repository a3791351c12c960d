#include "pipeline/report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/table.h"
#include "evaluation/confusion_table.h"

namespace lowbit {
namespace {

using nlohmann::ordered_json;

// 270128 -> "270,128".
std::string Grouped(int64_t number) {
  std::string text = absl::StrCat(number);
  for (int64_t i = static_cast<int64_t>(text.size()) - 3; i > 0; i -= 3) text.insert(static_cast<size_t>(i), ",");
  return text;
}

std::string Score(double fraction) { return absl::StrFormat("%.4f", fraction); }

TableRows MainTable(const Report& report) {
  TableRows rows = {{report.column, "accuracy", absl::StrCat("top-", report.rows.front().result.metrics.k), "precision",
                     "recall", "F1", "weight bytes", "images/s"}};
  for (const EvaluationRow& row : report.rows) {
    const ClassificationReport& metrics = row.result.metrics;
    rows.push_back({row.label(), Score(metrics.top1), Score(metrics.topk), Score(metrics.macro.precision),
                    Score(metrics.macro.recall), Score(metrics.macro.f1), Grouped(row.weight_bytes),
                    absl::StrFormat("%.0f", row.result.forward_images_per_second())});
  }
  return rows;
}

TableRows AverageTable(const Report& report) {
  TableRows rows = {{report.column, "average", "precision", "recall", "F1"}};
  for (const EvaluationRow& row : report.rows) {
    const ClassificationReport& metrics = row.result.metrics;
    for (const auto& [name, scores] :
         {std::make_pair("macro", metrics.macro), {"micro", metrics.micro}, {"weighted", metrics.weighted}}) {
      rows.push_back({row.label(), name, Score(scores.precision), Score(scores.recall), Score(scores.f1)});
    }
  }
  return rows;
}

TableRows ClassRows(const EvaluationRow& row, const std::vector<std::string>& class_names) {
  TableRows rows = {{"class", "accuracy", "precision", "F1", "images"}};
  for (size_t i = 0; i < row.result.metrics.per_class.size(); ++i) {
    const ClassMetrics& metrics = row.result.metrics.per_class[i];
    rows.push_back({class_names[i], Score(metrics.scores.recall), Score(metrics.scores.precision),
                    Score(metrics.scores.f1), Grouped(metrics.support)});
  }
  return rows;
}

TableRows MistakeRows(const EvaluationRow& row, const std::vector<std::string>& class_names) {
  TableRows rows = {{"image", "class", "taken for", "confidence"}};
  for (const Mistake& mistake : row.result.mistakes) {
    rows.push_back({absl::StrCat(mistake.index), class_names[static_cast<size_t>(mistake.label)],
                    class_names[static_cast<size_t>(mistake.prediction)], Score(mistake.confidence)});
  }
  return rows;
}

void AppendDetails(const Report& report, std::string* text) {
  absl::StrAppend(text, "\n## Averages\n\n", MarkdownTable(AverageTable(report)),
                  "\n## Classes\n\nThe accuracy of a class is its recall.\n");
  for (const EvaluationRow& row : report.rows) {
    absl::StrAppend(text, "\n", report.column, ": ", row.label(), "\n\n",
                    MarkdownTable(ClassRows(row, report.class_names)));
  }
  for (const EvaluationRow& row : report.rows) {
    if (row.result.mistakes.empty()) continue;
    absl::StrAppend(text, "\n## Most confident mistakes, ", report.column, ": ", row.label(), "\n\n",
                    MarkdownTable(MistakeRows(row, report.class_names)));
  }
  absl::StrAppend(text, "\n## Confusion\n");
  for (const EvaluationRow& row : report.rows) {
    absl::StrAppend(text, "\n", report.column, ": ", row.label(), "\n\n```\n",
                    ConfusionTable(row.result.confusion, report.class_names), "```\n");
  }
}

// Names and messages may hold bytes that are no UTF-8, which JSON cannot.
std::string Dump(const ordered_json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, ordered_json::error_handler_t::replace);
}

ordered_json ScoresJson(const PrecisionRecallF1& scores) {
  return {{"precision", scores.precision}, {"recall", scores.recall}, {"f1", scores.f1}};
}

ordered_json RowJson(const EvaluationRow& row, const std::vector<std::string>& class_names) {
  const EvaluationResult& result = row.result;
  const ClassificationReport& metrics = result.metrics;
  ordered_json json = {
      {"label", row.label()},
      {"variant", row.variant},
      {"name", row.name},
      {"quantized", row.quantized},
      {"images", metrics.images},
      {"top1", metrics.top1},
      {absl::StrCat("top", metrics.k), metrics.topk},
      {"macro", ScoresJson(metrics.macro)},
      {"micro", ScoresJson(metrics.micro)},
      {"weighted", ScoresJson(metrics.weighted)},
      {"weight_bytes", row.weight_bytes},
      {"forward_seconds", result.forward_seconds},
      {"wall_seconds", result.wall_seconds},
      {"images_per_second", result.forward_images_per_second()},
      {"wall_images_per_second", result.wall_images_per_second()},
  };
  if (!row.same_as.empty()) json["same_as"] = row.same_as;
  ordered_json classes = ordered_json::array();
  ordered_json confusion = ordered_json::array();
  for (int label = 0; label < result.confusion.num_classes(); ++label) {
    ordered_json scores = {{"class", class_names[static_cast<size_t>(label)]}};
    scores.update(ScoresJson(metrics.per_class[static_cast<size_t>(label)].scores));
    scores["support"] = metrics.per_class[static_cast<size_t>(label)].support;
    classes.push_back(std::move(scores));
    ordered_json counts = ordered_json::array();
    for (int k = 0; k < result.confusion.num_classes(); ++k) counts.push_back(result.confusion.count(label, k));
    confusion.push_back(std::move(counts));
  }
  json["per_class"] = std::move(classes);
  ordered_json mistakes = ordered_json::array();
  for (const Mistake& mistake : result.mistakes) {
    mistakes.push_back({{"image", mistake.index},
                        {"class", class_names[static_cast<size_t>(mistake.label)]},
                        {"taken_for", class_names[static_cast<size_t>(mistake.prediction)]},
                        {"confidence", mistake.confidence}});
  }
  if (!mistakes.empty()) json["mistakes"] = std::move(mistakes);
  json["confusion"] = std::move(confusion);  // [label][prediction]
  return json;
}

}  // namespace

std::string EvaluationRow::label() const {
  const std::string what = !name.empty() ? name : quantized ? "quantized" : "float";
  if (variant.empty()) return what;
  return name.empty() ? variant : absl::StrCat(variant, " ", name);
}

std::string ReportTable(const Report& report) { return report.rows.empty() ? "" : AlignedTable(MainTable(report)); }

std::string NameOfItsOwn(const std::string& name, const Report& report) {
  const auto& now = report.steps.back();
  const auto number = std::count_if(report.steps.begin(), report.steps.end(), [&](const nlohmann::ordered_json& step) {
    return step["step"] == now["step"] && step["variant"] == now["variant"];
  });
  return number == 1 ? name : absl::StrCat(name, "-", number);
}

std::string PerClassTable(const EvaluationRow& row, const std::vector<std::string>& class_names) {
  return AlignedTable(ClassRows(row, class_names));
}

std::string MistakesTable(const EvaluationRow& row, const std::vector<std::string>& class_names) {
  return AlignedTable(MistakeRows(row, class_names));
}

std::string ReportMarkdown(const Report& report) {
  std::string text = absl::StrCat("# ", report.config, "\n");
  if (report.status != "done") absl::StrAppend(&text, "\n", report.status, "\n");
  if (!report.table.pages.empty()) absl::StrAppend(&text, "\n", PivotMarkdown(report.table));
  if (!report.rows.empty()) {
    absl::StrAppend(
        &text, report.table.pages.empty() ? "" : "\n## Evaluations\n", "\n", MarkdownTable(MainTable(report)),
        "\nPrecision, recall and F1 are averages over the classes. Images per second are those of the forward "
        "pass. Weight bytes are those of convolutions and linear layers, as stored.\n");
  }
  if (report.rows.size() > kMostDetailedRows) {
    absl::StrAppend(&text, "\nOther averages, classes, confusions and steps are in report.json.\n");
  } else if (!report.rows.empty()) {
    AppendDetails(report, &text);
  }
  if (!report.models.empty()) {
    TableRows rows = {{"file", "weight bytes", "file bytes"}};
    for (const ordered_json& model : report.models) {
      rows.push_back({model["file"], Grouped(model["weight_bytes"]), Grouped(model["file_bytes"])});
    }
    absl::StrAppend(&text, "\n## Packed models\n\n", MarkdownTable(rows));
  }
  if (report.rows.size() > kMostDetailedRows) return text;
  absl::StrAppend(&text, "\n## Steps\n\n```\n");
  for (const ordered_json& step : report.steps) absl::StrAppend(&text, Dump(step, -1), "\n");
  return text + "```\n";
}

std::string ReportJson(const Report& report) {
  ordered_json rows = ordered_json::array();
  for (const EvaluationRow& row : report.rows) rows.push_back(RowJson(row, report.class_names));
  ordered_json json = {{"config", report.config}, {"status", report.status}, {"column", report.column}};
  if (!report.table.pages.empty()) json["table"] = PivotJson(report.table);
  json.update({{"evaluations", std::move(rows)}, {"models", report.models}, {"steps", report.steps}});
  return Dump(json, 1) + "\n";
}

}  // namespace lowbit
