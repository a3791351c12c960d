#include "pipeline/text_position.h"

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/text_format_error.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace lowbit {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::io::Tokenizer;

// Follows the nesting of messages. Knows just enough of the grammar to tell names of fields from their values.
class PathReader {
 public:
  explicit PathReader(const Descriptor& root) { frames_.push_back({&root, "", {}, false}); }

  void Read(const Tokenizer::Token& token) {
    if (in_type_url_) {
      ReadTypeUrl(token.text);
    } else if (token.type == Tokenizer::TYPE_SYMBOL) {
      ReadSymbol(token);
    } else if (!expects_value_ && token.type == Tokenizer::TYPE_IDENTIFIER) {
      BeginField(token);
    } else if (expects_value_ && !in_list_) {
      EndField();
    }
  }

  bool in_field() const { return in_field_; }
  bool value_began() const { return expects_value_; }
  std::string path() const { return in_field_ ? field_path_ : frames_.back().path; }
  int field_line() const { return field_line_; }
  int field_column() const { return field_column_; }

 private:
  struct Frame {
    const Descriptor* type;  // Null below an unknown field.
    std::string path;
    std::map<std::string, int> seen;  // How often each repeated field was there.
    bool in_list;                     // Whether the message is an element of a [list].
  };

  void BeginField(const Tokenizer::Token& token) {
    Frame& frame = frames_.back();
    const FieldDescriptor* field = frame.type == nullptr ? nullptr : frame.type->FindFieldByName(token.text);
    field_name_ = token.text;
    field_type_ = field == nullptr ? nullptr : field->message_type();
    field_repeated_ = field != nullptr && field->is_repeated();
    in_field_ = true;
    field_line_ = token.line;
    field_column_ = token.column;
    SetFieldPath();
  }

  void SetFieldPath() {
    Frame& frame = frames_.back();
    field_path_ = absl::StrCat(frame.path, frame.path.empty() ? "" : ".", field_name_);
    if (field_repeated_) absl::StrAppend(&field_path_, "[", frame.seen[field_name_]++, "]");
  }

  void EndField() {
    in_field_ = false;
    expects_value_ = false;
    in_list_ = false;
  }

  void ReadSymbol(const Tokenizer::Token& token) {
    switch (token.text[0]) {
      case ':':
        expects_value_ = true;
        break;
      case '[':
        if (expects_value_) {
          in_list_ = true;
        } else {
          BeginTypeUrl(token);
        }
        break;
      case ']':
        EndField();
        break;
      case ',':
        if (in_list_) SetFieldPath();
        break;
      case '{':
      case '<':
        frames_.push_back({field_type_, field_path_, {}, in_list_});
        EndField();
        break;
      case '}':
      case '>':
        EndMessage();
        break;
      default:  // The sign of a number, a semicolon.
        break;
    }
  }

  void EndMessage() {
    if (frames_.size() == 1) return;
    const Frame message = frames_.back();
    frames_.pop_back();
    EndField();
    if (!message.in_list) return;
    // The list goes on, and with it the field that it is the value of.
    in_list_ = in_field_ = expects_value_ = field_repeated_ = true;
    field_path_ = message.path;
    field_type_ = message.type;
    const size_t dot = message.path.rfind('.');
    field_name_ = message.path.substr(dot == std::string::npos ? 0 : dot + 1);
    field_name_.resize(field_name_.find('['));
  }

  // [type.googleapis.com/lowbit.MinMaxOptions] { ... }: the fields in the braces count as the Any's own.
  void BeginTypeUrl(const Tokenizer::Token& token) {
    in_type_url_ = true;
    type_url_.clear();
    in_field_ = true;
    field_path_ = frames_.back().path;
    field_line_ = token.line;
    field_column_ = token.column;
  }

  void ReadTypeUrl(const std::string& text) {
    if (text != "]") {
      type_url_ += text;
      return;
    }
    in_type_url_ = false;
    const std::string name = type_url_.substr(type_url_.rfind('/') + 1);
    field_type_ = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  }

  std::vector<Frame> frames_;
  bool in_field_ = false;
  bool expects_value_ = false;
  bool in_list_ = false;
  bool in_type_url_ = false;
  std::string type_url_;
  // The field that is being read.
  std::string field_name_, field_path_;
  const Descriptor* field_type_ = nullptr;
  bool field_repeated_ = false;
  int field_line_ = 0, field_column_ = 0;
};

}  // namespace

TextPosition FindTextPosition(const std::string& text, const Descriptor& root, int line, int column) {
  google::protobuf::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  TextFormatError errors;  // Has been reported already.
  Tokenizer tokenizer(&stream, &errors);
  tokenizer.set_allow_f_after_float(true);
  tokenizer.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
  tokenizer.set_require_space_after_number(false);
  tokenizer.set_allow_multiline_strings(true);

  PathReader reader(root);
  while (tokenizer.Next()) {
    const Tokenizer::Token& token = tokenizer.current();
    if (token.line > line || (token.line == line && token.column >= column)) break;
    reader.Read(token);
  }
  if (reader.in_field() && !reader.value_began()) {
    return {reader.path(), reader.field_line(), reader.field_column()};
  }
  return {reader.path(), line, column};
}

}  // namespace lowbit
