#ifndef LOWBIT_PIPELINE_CONFIG_H_
#define LOWBIT_PIPELINE_CONFIG_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "pipeline/config.pb.h"
#include "pipeline/field_path.h"

namespace lowbit {

// A config that knows where each of its fields was written, for the sake of error messages:
//
//   configs/x.textproto:8:78: steps[3].quantize.rules[0].weights.quantizer.bits: must be 1 to 8, or 16; got 12
//   --set steps[3].quantize.rules[0].weights.quantizer.bits=12: must be 1 to 8, or 16; got 12
class Config {
 public:
  // Reads a PipelineConfig in text format. InvalidArgument with line, column and field in the file called `name`. Says
  // nothing about whether the values make sense.
  static absl::StatusOr<Config> Parse(const std::string& text, const std::string& name);

  const PipelineConfig& proto() const { return proto_; }

  // Without folder and extension: "resnet20_w8a8_per_channel".
  std::string base_name() const;

  // Gives a field another value (see SetField). `origin` is where it comes from, and stands in the messages from now
  // on in the place of a position in the file: "--set seed=3". InvalidArgument `<origin>: <path>: ...` as SetField.
  absl::Status Set(absl::string_view path, absl::string_view value, absl::string_view origin);

  // Where a field got its value: "configs/x.textproto:8:78" (lines and columns from 1), or the origin of a Set(). For a
  // field that is nowhere, the nearest message around it that is.
  std::string Origin(const FieldPath& path) const;

  // Puts origin and path of the field that the error names (base/field_error.h) into its message: `<origin>: <path>:
  // <message>`. An error that names none gets the file's name.
  absl::Status Locate(const absl::Status& error) const;

 private:
  struct File;  // What was read: name, message, positions.
  struct Assignment {
    FieldPath path;
    std::string origin;
  };

  std::string FilePosition(const FieldPath& path) const;

  std::shared_ptr<const File> file_;
  PipelineConfig proto_;
  std::vector<Assignment> assignments_;
};

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_CONFIG_H_
