#include "artifact/safetensors_header.h"

#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace lowbit {
namespace internal {
namespace {

using Json = nlohmann::json;

constexpr DType kAllDTypes[] = {DType::kF64,    DType::kF32,    DType::kF16,    DType::kBF16,   DType::kI64,
                                DType::kI32,    DType::kI16,    DType::kI8,     DType::kU64,    DType::kU32,
                                DType::kU16,    DType::kU8,     DType::kBool,   DType::kC64,    DType::kF8E4M3,
                                DType::kF8E5M2, DType::kF8E8M0, DType::kF6E2M3, DType::kF6E3M2, DType::kF4};

std::optional<DType> DTypeFromName(absl::string_view name) {
  for (const DType dtype : kAllDTypes) {
    if (DTypeName(dtype) == name) return dtype;
  }
  return std::nullopt;
}

// Follows the parser through the header and accepts only what may come next. A tree of the whole document would take
// many times the text's memory, nest as deep as the text says, and keep only the last of two equal keys.
class HeaderReader : public Json::json_sax_t {
 public:
  SafetensorsHeader header;
  std::string error;  // set when a callback returns false

  bool key(std::string& name) override {
    switch (state_) {
      case State::kDocument:
        return DocumentKey(name);
      case State::kMetadata:
        metadata_key_ = name;
        if (header.metadata.count(name) != 0) {
          return Fail(absl::StrCat("key \"", Excerpt(name), "\" of the metadata occurs twice"));
        }
        state_ = State::kMetadataValue;
        return true;
      case State::kTensor:
        return TensorKey(name);
      default:
        return Fail("misplaced key");
    }
  }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::kStart:
        state_ = State::kDocument;
        return true;
      case State::kMetadataObject:
        state_ = State::kMetadata;
        return true;
      case State::kTensorObject:
        state_ = State::kTensor;
        return true;
      default:
        return Unexpected("an object");
    }
  }

  bool end_object() override {
    if (state_ == State::kDocument) {
      state_ = State::kEnd;
      return true;
    }
    if (state_ == State::kTensor) {
      for (const auto& [seen, field] : {std::make_pair(has_dtype_, "dtype"), std::make_pair(has_shape_, "shape"),
                                        std::make_pair(has_offsets_, "data_offsets")}) {
        if (!seen) return Fail(absl::StrCat(DescribeTensor(tensor_name_), ": ", field, " is missing"));
      }
    }
    state_ = State::kDocument;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kShape) {
      state_ = State::kShapeElement;
      return true;
    }
    if (state_ == State::kOffsets) {
      state_ = State::kOffsetElement;
      return true;
    }
    return Unexpected("an array");
  }

  bool end_array() override {
    if (state_ == State::kOffsetElement && offset_count_ != 2) return WrongOffsetCount(offset_count_);
    state_ = State::kTensor;
    return true;
  }

  bool string(std::string& value) override {
    if (state_ == State::kMetadataValue) {
      header.metadata[metadata_key_] = std::move(value);
      state_ = State::kMetadata;
      return true;
    }
    if (state_ != State::kDType) return Unexpected(absl::StrCat("\"", Excerpt(value), "\""));
    const std::optional<DType> dtype = DTypeFromName(value);
    if (!dtype.has_value()) {
      return Fail(absl::StrCat(DescribeTensor(tensor_name_), ": unknown dtype \"", Excerpt(value), "\""));
    }
    tensor_->dtype = *dtype;
    state_ = State::kTensor;
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (state_ == State::kShapeElement && value <= uint64_t{std::numeric_limits<int64_t>::max()}) {
      tensor_->shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsetElement) {
      if (offset_count_ == 2) return WrongOffsetCount(3);
      (offset_count_++ == 0 ? tensor_->begin : tensor_->end) = value;
      return true;
    }
    return Unexpected(absl::StrCat(value));
  }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool value) override { return Unexpected(value ? "true" : "false"); }
  bool number_integer(int64_t value) override { return Unexpected(absl::StrCat(value)); }
  bool number_float(double, const std::string& text) override { return Unexpected(Excerpt(text)); }
  bool binary(Json::binary_t&) override { return Unexpected("binary data"); }

  bool parse_error(std::size_t, const std::string&, const Json::exception& exception) override {
    absl::string_view what = exception.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 9: ..."
    const size_t id_end = what.find("] ");
    if (id_end != absl::string_view::npos) what.remove_prefix(id_end + 2);
    return Fail(absl::StrCat("the header is not valid JSON: ", Excerpt(what)));
  }

 private:
  // What may come next.
  enum class State {
    kStart,           // the object that is the document
    kDocument,        // a tensor's name, "__metadata__", or the end of the document
    kMetadataObject,  // the object of the metadata
    kMetadata,        // a key of the metadata, or its end
    kMetadataValue,   // that key's string
    kTensorObject,    // the object of a tensor
    kTensor,          // a field's name, or the end of the tensor
    kDType,           // the string of dtype
    kShape,           // the array of shape
    kShapeElement,    // a number, or the end of that array
    kOffsets,         // the array of data_offsets
    kOffsetElement,   // a number, or the end of that array
    kEnd,             // nothing
  };

  bool DocumentKey(const std::string& name) {
    if (name == kMetadataKey) {
      if (std::exchange(has_metadata_, true)) return Fail(absl::StrCat(kMetadataKey, " occurs twice"));
      state_ = State::kMetadataObject;
      return true;
    }
    const auto [it, inserted] = header.tensors.emplace(name, TensorInfo());
    if (!inserted) return Fail(absl::StrCat(DescribeTensor(name), " occurs twice"));
    tensor_ = &it->second;
    tensor_name_ = name;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    offset_count_ = 0;
    state_ = State::kTensorObject;
    return true;
  }

  bool TensorKey(const std::string& name) {
    bool* seen = nullptr;
    if (name == "dtype") {
      seen = &has_dtype_;
      state_ = State::kDType;
    } else if (name == "shape") {
      seen = &has_shape_;
      state_ = State::kShape;
    } else if (name == "data_offsets") {
      seen = &has_offsets_;
      state_ = State::kOffsets;
    } else {
      return Fail(absl::StrCat(DescribeTensor(tensor_name_), ": unknown field \"", Excerpt(name),
                               "\" (known: data_offsets, dtype, shape)"));
    }
    if (std::exchange(*seen, true)) {
      return Fail(absl::StrCat(DescribeTensor(tensor_name_), ": ", name, " occurs twice"));
    }
    return true;
  }

  bool Unexpected(absl::string_view got) {
    const std::string tensor = DescribeTensor(tensor_name_);
    switch (state_) {
      case State::kMetadataObject:
        return Fail(absl::StrCat(kMetadataKey, ": must be an object of strings, got ", got));
      case State::kMetadataValue:
        return Fail(absl::StrCat(kMetadataKey, ": \"", Excerpt(metadata_key_), "\" must be a string, got ", got));
      case State::kTensorObject:
        return Fail(absl::StrCat(tensor, ": must be an object, got ", got));
      case State::kDType:
        return Fail(absl::StrCat(tensor, ": dtype must be a string, got ", got));
      case State::kShape:
      case State::kShapeElement:
        return Fail(absl::StrCat(tensor, ": shape must be an array of whole numbers in [0, 2^63 - 1], got ", got));
      case State::kOffsets:
      case State::kOffsetElement:
        return Fail(absl::StrCat(tensor, ": data_offsets must be two whole numbers, got ", got));
      default:
        return Fail(absl::StrCat("the header must be a JSON object, got ", got));
    }
  }

  bool WrongOffsetCount(int count) {
    return Fail(absl::StrCat(DescribeTensor(tensor_name_), ": data_offsets must be two whole numbers, got ",
                             count > 2    ? "more"
                             : count == 1 ? "one"
                                          : "none"));
  }

  bool Fail(std::string message) {
    error = std::move(message);
    return false;
  }

  State state_ = State::kStart;
  bool has_metadata_ = false;
  std::string metadata_key_;
  // The tensor that is being read.
  TensorInfo* tensor_ = nullptr;
  std::string tensor_name_;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int offset_count_ = 0;
};

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json) {
  // The format demands it; a JSON parser would also take spaces or a byte order mark here.
  if (json.empty() || json[0] != '{') {
    const std::string got = json.empty() ? "nothing" : absl::StrCat("\"", Excerpt(json.substr(0, 8)), "\"");
    return absl::InvalidArgumentError(absl::StrCat("the header must begin with \"{\", got ", got));
  }
  HeaderReader reader;
  if (!Json::sax_parse(json.begin(), json.end(), &reader)) return absl::InvalidArgumentError(reader.error);
  return std::move(reader.header);
}

}  // namespace internal
}  // namespace lowbit
