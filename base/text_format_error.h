#ifndef LOWBIT_BASE_TEXT_FORMAT_ERROR_H_
#define LOWBIT_BASE_TEXT_FORMAT_ERROR_H_

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "google/protobuf/io/tokenizer.h"

namespace lowbit {

// Keeps the first error of a protobuf text-format parser.
class TextFormatError : public google::protobuf::io::ErrorCollector {
 public:
  // From 0. Both -1: protobuf knew no place.
  int line() const { return line_; }
  int column() const { return column_; }
  // Empty as long as there was no error.
  const std::string& message() const { return message_; }

  // Protobuf renamed it, and changed its types.
#if GOOGLE_PROTOBUF_VERSION >= 4022000
  void RecordError(int line, google::protobuf::io::ColumnNumber column, absl::string_view message) override {
    Keep(line, column, std::string(message));
  }
#else
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    Keep(line, column, message);
  }
#endif

 private:
  void Keep(int line, int column, std::string message) {
    if (!message_.empty()) return;
    line_ = line;
    column_ = column;
    message_ = std::move(message);
  }

  int line_ = -1, column_ = -1;
  std::string message_;
};

}  // namespace lowbit

#endif  // LOWBIT_BASE_TEXT_FORMAT_ERROR_H_
