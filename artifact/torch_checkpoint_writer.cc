#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "artifact/little_endian.h"
#include "artifact/pickle_globals.h"
#include "artifact/torch_checkpoint.h"
#include "artifact/zip_archive.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"

namespace lowbit {
namespace {

using internal::AppendLittleEndian;

constexpr char kFolder[] = "archive";

bool IsUtf8(const std::string& text) {
  using nlohmann::json;
  // What is not UTF-8 is replaced, and does not come back.
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace), nullptr, false) == json(text);
}

// Pickle protocol 2, with the opcodes that torch.load(weights_only=True) knows.
class PickleWriter {
 public:
  void Raw(absl::string_view opcodes) { absl::StrAppend(&bytes, opcodes); }

  void Global(absl::string_view module, absl::string_view name) {
    absl::StrAppend(&bytes, "c", module, "\n", name, "\n");
  }

  void Text(absl::string_view text) {
    bytes += 'X';
    AppendLittleEndian(text.size(), 4, &bytes);
    absl::StrAppend(&bytes, text);
  }

  void Integer(int64_t number) {  // not negative
    if (number <= 0xff) {
      bytes += 'K';
      AppendLittleEndian(static_cast<uint64_t>(number), 1, &bytes);
    } else if (number <= std::numeric_limits<int32_t>::max()) {
      bytes += 'J';
      AppendLittleEndian(static_cast<uint64_t>(number), 4, &bytes);
    } else {
      bytes += "\x8a\x08";
      AppendLittleEndian(static_cast<uint64_t>(number), 8, &bytes);
    }
  }

  void IntegerTuple(const std::vector<int64_t>& numbers) {
    Raw("(");
    for (const int64_t number : numbers) Integer(number);
    Raw("t");
  }

  std::string bytes;
};

// Of a tensor in row-major order. An extent of 0 counts as 1, as in PyTorch.
std::vector<int64_t> RowMajorStrides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(shape[i], 1);
  return strides;
}

// _rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()), the storage by its persistent id
// ("storage", class, key, "cpu", size).
void AppendTensor(const TensorBlob& tensor, absl::string_view storage_class, absl::string_view key,
                  PickleWriter* pickle) {
  pickle->Global("torch._utils", "_rebuild_tensor_v2");
  pickle->Raw("((");
  pickle->Text("storage");
  pickle->Global("torch", storage_class);
  pickle->Text(key);
  pickle->Text("cpu");
  pickle->Integer(static_cast<int64_t>(tensor.bytes.size()) * 8 / DTypeBits(tensor.dtype));
  pickle->Raw("tQ");
  pickle->Integer(0);
  pickle->IntegerTuple(tensor.shape);
  pickle->IntegerTuple(RowMajorStrides(tensor.shape));
  pickle->Raw("\x89");
  pickle->Global("collections", "OrderedDict");
  pickle->Raw(")RtR");
}

// The storage's class, if a checkpoint can hold the tensor.
absl::StatusOr<absl::string_view> CheckTensor(const std::string& name, const TensorBlob& tensor) {
  if (!IsUtf8(name)) return absl::InvalidArgumentError("its name is not UTF-8");
  const std::optional<absl::string_view> storage_class = internal::StorageClass(tensor.dtype);
  if (!storage_class.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("PyTorch has no storage of ", DTypeName(tensor.dtype), " that every version reads"));
  }
  LOWBIT_ASSIGN_OR_RETURN(const uint64_t size, internal::ByteCount(tensor.dtype, tensor.shape));
  if (size != tensor.bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", internal::DescribeShape(tensor.shape), " of ",
                                                   DTypeName(tensor.dtype), " takes ", size, " bytes, got ",
                                                   tensor.bytes.size()));
  }
  return *storage_class;
}

absl::StatusOr<std::string> SerializePickle(const std::map<std::string, TensorBlob>& tensors) {
  PickleWriter pickle;
  pickle.Raw("\x80\x02");
  pickle.Global("collections", "OrderedDict");
  pickle.Raw(")R(");
  int key = 0;
  for (const auto& [name, tensor] : tensors) {
    const absl::StatusOr<absl::string_view> storage_class = CheckTensor(name, tensor);
    if (!storage_class.ok()) {
      return absl::Status(storage_class.status().code(),
                          absl::StrCat(internal::DescribeTensor(name), ": ", storage_class.status().message()));
    }
    pickle.Text(name);
    AppendTensor(tensor, *storage_class, absl::StrCat(key++), &pickle);
  }
  pickle.Raw("u.");
  return std::move(pickle.bytes);
}

// The pieces lie in *pickle and in the tensors, too.
absl::StatusOr<internal::ZipPieces> LayOut(const std::map<std::string, TensorBlob>& tensors, std::string* pickle) {
  LOWBIT_ASSIGN_OR_RETURN(*pickle, SerializePickle(tensors));
  std::vector<internal::ZipInput> entries = {{absl::StrCat(kFolder, "/data.pkl"), *pickle},
                                             {absl::StrCat(kFolder, "/byteorder"), "little"}};
  int key = 0;
  for (const auto& entry : tensors) {
    entries.push_back({absl::StrCat(kFolder, "/data/", key++), entry.second.bytes});
  }
  entries.push_back({absl::StrCat(kFolder, "/version"), "3\n"});
  return internal::LayOutZip(entries);
}

}  // namespace

absl::StatusOr<std::string> SerializeTorchCheckpoint(const std::map<std::string, TensorBlob>& tensors) {
  std::string pickle;
  LOWBIT_ASSIGN_OR_RETURN(const internal::ZipPieces zip, LayOut(tensors, &pickle));
  return absl::StrJoin(zip.pieces, "");
}

absl::Status SaveTorchCheckpoint(const std::string& path, const std::map<std::string, TensorBlob>& tensors) {
  std::string pickle;
  const absl::StatusOr<internal::ZipPieces> zip = LayOut(tensors, &pickle);
  if (!zip.ok()) {
    return absl::Status(zip.status().code(), absl::StrCat("cannot write \"", path, "\": ", zip.status().message()));
  }
  return WriteFileAtomic(path, zip->pieces);
}

}  // namespace lowbit
