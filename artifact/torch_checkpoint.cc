#include "artifact/torch_checkpoint.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "artifact/little_endian.h"
#include "artifact/pickle.h"
#include "artifact/pickled_tensor.h"
#include "artifact/zip_archive.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace lowbit {
namespace {

using internal::DescribeKind;
using internal::DescribeTensor;
using internal::Excerpt;
using internal::Pickle;
using internal::PickledStorage;
using internal::PickleValue;
using internal::StorageReader;
using internal::ZipArchive;
using Kind = PickleValue::Kind;
using Tensors = std::map<std::string, TensorBlob>;

constexpr absl::string_view kZipMagic("PK\x03\x04", 4);
// 0x1950a86a20f9469cfc6c as a pickle's LONG1, and the pickle's end.
constexpr absl::string_view kLegacyMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 13);
constexpr int64_t kLegacyProtocol = 1001;

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

// The status with `place` before its message.
absl::Status At(absl::string_view place, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(place, ": ", status.message()));
}

// Where the pickle after a legacy checkpoint's magic number begins. nullopt: it is none.
std::optional<size_t> SkipLegacyMagic(absl::string_view bytes) {
  constexpr size_t kProtocol = 2, kFrame = 9;
  if (bytes.size() < kProtocol || bytes[0] != '\x80') return std::nullopt;
  const bool has_frame = bytes.size() > kProtocol && bytes[kProtocol] == '\x95';  // protocol 4 and 5
  const size_t begin = kProtocol + (has_frame ? kFrame : 0);
  if (bytes.size() < begin || !absl::StartsWith(bytes.substr(begin), kLegacyMagic)) return std::nullopt;
  return begin + kLegacyMagic.size();
}

// ---- names ----

// The value behind the text `key`, the last one if there are several, as in Python. nullptr: there is none.
const PickleValue* FindKey(const Pickle& pickle, const PickleValue& dict, absl::string_view key) {
  const PickleValue* found = nullptr;
  for (const auto& [name, value] : pickle.dicts[dict.integer]) {
    if (name.kind == Kind::kText && name.text == key) found = &value;
  }
  return found;
}

// A dictionary's keys, for a message.
std::string DescribeKeys(const Pickle& pickle, const PickleValue& dict) {
  constexpr size_t kMost = 8;
  std::vector<std::string> keys;
  for (const auto& entry : pickle.dicts[dict.integer]) {
    const PickleValue& key = entry.first;
    if (keys.size() == kMost) {
      keys.push_back("...");
      break;
    }
    keys.push_back(key.kind == Kind::kText      ? absl::StrCat("\"", Excerpt(key.text), "\"")
                   : key.kind == Kind::kInteger ? absl::StrCat(key.integer)
                                                : std::string(DescribeKind(key.kind)));
  }
  return keys.empty() ? "nothing" : absl::StrJoin(keys, ", ");
}

// The dictionary that holds the tensors.
absl::StatusOr<PickleValue> FindStateDict(const Pickle& pickle) {
  constexpr int kMostDepth = 16;  // a dictionary may contain itself
  PickleValue dict = pickle.root;
  if (dict.kind != Kind::kDict) {
    return Invalid(absl::StrCat("it holds ", DescribeKind(dict.kind),
                                ", wanted a dictionary of tensors, as a model's state_dict() is"));
  }
  for (int depth = 0; depth < kMostDepth; ++depth) {
    absl::string_view found_key;
    std::optional<PickleValue> found;
    for (const absl::string_view key : {"state_dict", "model_state_dict", "model", "net"}) {
      const PickleValue* const inner = FindKey(pickle, dict, key);
      if (inner == nullptr || inner->kind != Kind::kDict) continue;
      if (found.has_value()) {
        return Invalid(absl::StrCat("it holds both \"", found_key, "\" and \"", key,
                                    "\": which of them is the model cannot be known"));
      }
      found_key = key;
      found = *inner;
    }
    if (!found.has_value()) return dict;
    dict = *found;
  }
  return Invalid(absl::StrCat("its dictionaries are nested more than ", kMostDepth, " deep"));
}

// By how much every name is to be shortened.
size_t ModulePrefixSize(const std::map<std::string, size_t>& tensors) {
  constexpr absl::string_view kModule = "module.";
  size_t size = 0;
  const auto has_prefix = [&](const auto& entry) {
    const absl::string_view rest = absl::string_view(entry.first).substr(size);
    return absl::StartsWith(rest, kModule) && rest.size() > kModule.size();
  };
  while (!tensors.empty() && std::all_of(tensors.begin(), tensors.end(), has_prefix)) size += kModule.size();
  return size;
}

// The tensors of the dictionary by name: indices of pickle.tensors.
absl::StatusOr<std::map<std::string, size_t>> NameTensors(const Pickle& pickle, const PickleValue& dict) {
  std::map<std::string, size_t> tensors;
  for (const auto& [key, value] : pickle.dicts[dict.integer]) {
    if (value.kind != Kind::kTensor) continue;
    if (key.kind != Kind::kText) {
      return Invalid(absl::StrCat("a tensor's name must be a text, got ", DescribeKind(key.kind)));
    }
    if (!tensors.emplace(key.text, static_cast<size_t>(value.integer)).second) {
      return Invalid(absl::StrCat(DescribeTensor(key.text), " occurs twice"));
    }
  }
  if (tensors.empty()) {
    return Invalid(absl::StrCat("there are no tensors in its dictionary, which holds ", DescribeKeys(pickle, dict),
                                "; wanted a model's state_dict(), at the top or under \"state_dict\", "
                                "\"model_state_dict\", \"model\" or \"net\""));
  }
  return tensors;
}

absl::StatusOr<Tensors> ReadTensors(const Pickle& pickle, const StorageReader& read_storage, uint64_t file_size) {
  constexpr uint64_t kMostTimesFile = 16, kAlwaysAllowed = 64 << 20;
  LOWBIT_ASSIGN_OR_RETURN(const PickleValue dict, FindStateDict(pickle));
  using Indices = std::map<std::string, size_t>;
  LOWBIT_ASSIGN_OR_RETURN(const Indices named, NameTensors(pickle, dict));
  const size_t prefix_size = ModulePrefixSize(named);
  uint64_t bytes_left = std::max(kMostTimesFile * file_size, kAlwaysAllowed);
  Tensors tensors;
  for (const auto& [name, index] : named) {
    absl::StatusOr<TensorBlob> tensor =
        internal::AssembleTensor(pickle, pickle.tensors[index], read_storage, &bytes_left);
    if (!tensor.ok()) return At(DescribeTensor(name), tensor.status());
    tensors[name.substr(prefix_size)] = *std::move(tensor);
  }
  return tensors;
}

absl::Status CheckStorageSize(const PickledStorage& storage, uint64_t size, absl::string_view place) {
  const uint64_t element_bytes = static_cast<uint64_t>(storage.element->bytes);
  if (size % element_bytes == 0 && size / element_bytes == static_cast<uint64_t>(storage.size)) return absl::OkStatus();
  return Invalid(absl::StrCat(place, " has ", size, " bytes, wanted ", storage.size, " elements of ", element_bytes));
}

// ---- zip ----

// The folder in which all entries lie, from the one that is "<folder>/data.pkl".
absl::StatusOr<std::string> FindFolder(const ZipArchive& zip) {
  constexpr absl::string_view kPickle = "/data.pkl";
  std::optional<std::string> folder;
  for (const absl::string_view name : zip.names()) {
    if (!absl::EndsWith(name, kPickle) || name.find('/') != name.size() - kPickle.size()) continue;
    if (folder.has_value()) {
      return Invalid(absl::StrCat("both \"", Excerpt(*folder), kPickle, "\" and \"", Excerpt(name), "\" are there"));
    }
    folder = std::string(name.substr(0, name.size() - kPickle.size()));
  }
  if (!folder.has_value()) return Invalid("a zip file without an entry \"<folder>/data.pkl\" is no PyTorch checkpoint");
  return *folder;
}

absl::StatusOr<Tensors> ParseZip(absl::string_view bytes) {
  LOWBIT_ASSIGN_OR_RETURN(const ZipArchive zip, ZipArchive::Parse(bytes));
  LOWBIT_ASSIGN_OR_RETURN(const std::string folder, FindFolder(zip));
  if (zip.Has(absl::StrCat(folder, "/constants.pkl"))) {
    return Invalid("it is a TorchScript program, not a checkpoint: save the model's state_dict() with torch.save()");
  }
  const std::string byte_order = absl::StrCat(folder, "/byteorder");
  if (zip.Has(byte_order)) {
    LOWBIT_ASSIGN_OR_RETURN(const absl::string_view order, zip.Read(byte_order));
    if (order != "little")
      return Invalid(absl::StrCat("its byte order is \"", Excerpt(order), "\", wanted \"little\""));
  }
  const std::string pickle_entry = absl::StrCat(folder, "/data.pkl");
  LOWBIT_ASSIGN_OR_RETURN(const absl::string_view pickle_bytes, zip.Read(pickle_entry));
  const absl::StatusOr<Pickle> pickle = internal::ReadPickle(pickle_bytes, 0);
  if (!pickle.ok()) return At(absl::StrCat("entry \"", Excerpt(pickle_entry), "\""), pickle.status());

  std::map<absl::string_view, absl::string_view> read;  // the CRC-32 of each is computed once
  const StorageReader read_storage = [&](const PickledStorage& storage) -> absl::StatusOr<absl::string_view> {
    const std::string entry = absl::StrCat(folder, "/data/", storage.key);
    const auto [it, is_new] = read.try_emplace(storage.key);
    if (is_new) {
      LOWBIT_ASSIGN_OR_RETURN(it->second, zip.Read(entry));
    }
    LOWBIT_RETURN_IF_ERROR(
        CheckStorageSize(storage, it->second.size(), absl::StrCat("entry \"", Excerpt(entry), "\"")));
    return it->second;
  };
  return ReadTensors(*pickle, read_storage, bytes.size());
}

// ---- legacy ----

// The next pickle of the file, which must be of this kind.
absl::StatusOr<Pickle> ReadNext(absl::string_view bytes, Kind kind, absl::string_view what, size_t* position) {
  const size_t begin = *position;
  LOWBIT_ASSIGN_OR_RETURN(Pickle pickle, internal::ReadPickle(bytes, begin));
  if (pickle.root.kind != kind) {
    return Invalid(absl::StrCat("byte ", begin, ": ", what, " must be ", DescribeKind(kind), ", got ",
                                DescribeKind(pickle.root.kind)));
  }
  *position = pickle.end;
  return pickle;
}

// The version and the byte order.
absl::Status CheckLegacyHeader(absl::string_view bytes, size_t* position) {
  LOWBIT_ASSIGN_OR_RETURN(const Pickle version, ReadNext(bytes, Kind::kInteger, "the version", position));
  if (version.root.integer != kLegacyProtocol) {
    return Invalid(absl::StrCat("its version is ", version.root.integer, ", wanted ", kLegacyProtocol));
  }
  LOWBIT_ASSIGN_OR_RETURN(const Pickle machine, ReadNext(bytes, Kind::kDict, "the machine's description", position));
  const PickleValue* const little = FindKey(machine, machine.root, "little_endian");
  if (little == nullptr || little->kind != Kind::kBool || little->integer != 1) {
    return Invalid("it was not written on a little-endian machine");
  }
  return absl::OkStatus();
}

// The storages that lie behind the pickles, by key: all of the file from `position` on.
absl::StatusOr<std::map<absl::string_view, absl::string_view>> ReadLegacyStorages(absl::string_view bytes,
                                                                                  const Pickle& object) {
  size_t position = object.end;
  LOWBIT_ASSIGN_OR_RETURN(const Pickle keys, ReadNext(bytes, Kind::kList, "the list of storages", &position));
  std::map<absl::string_view, const PickledStorage*> wanted;
  for (const PickledStorage& storage : object.storages) wanted.emplace(storage.key, &storage);
  std::map<absl::string_view, absl::string_view> storages;
  for (const PickleValue& key : keys.sequences[keys.root.integer]) {
    const auto it = key.kind == Kind::kText ? wanted.find(key.text) : wanted.end();
    if (it == wanted.end()) {
      return Invalid(absl::StrCat("byte ", object.end, ": the list names storage \"", Excerpt(key.text),
                                  "\", which no tensor uses"));
    }
    const PickledStorage& storage = *it->second;
    const std::string place = absl::StrCat("byte ", position, ": storage \"", Excerpt(key.text), "\"");
    constexpr size_t kCountBytes = 8;
    if (bytes.size() - position < kCountBytes) return Invalid(absl::StrCat(place, " is missing: the file was cut off"));
    const uint64_t count = internal::ReadLittleEndian(bytes, position, kCountBytes);
    if (count != static_cast<uint64_t>(storage.size)) {
      return Invalid(absl::StrCat(place, " has ", count, " elements, wanted ", storage.size));
    }
    position += kCountBytes;
    const uint64_t left = bytes.size() - position, element_bytes = static_cast<uint64_t>(storage.element->bytes);
    if (count > left / element_bytes) {
      return Invalid(absl::StrCat(place, " has ", count, " elements of ", element_bytes, " bytes, and only ", left,
                                  " bytes are left: the file was cut off"));
    }
    // it->first: as long-lived as `object`.
    if (!storages.emplace(it->first, bytes.substr(position, count * element_bytes)).second) {
      return Invalid(absl::StrCat(place, " occurs twice"));
    }
    position += count * element_bytes;
  }
  if (position != bytes.size()) {
    return Invalid(absl::StrCat(bytes.size() - position, " bytes after the last storage belong to nothing"));
  }
  return storages;
}

absl::StatusOr<Tensors> ParseLegacy(absl::string_view bytes, size_t position) {
  LOWBIT_RETURN_IF_ERROR(CheckLegacyHeader(bytes, &position));
  LOWBIT_ASSIGN_OR_RETURN(const Pickle object, internal::ReadPickle(bytes, position));
  using Storages = std::map<absl::string_view, absl::string_view>;
  LOWBIT_ASSIGN_OR_RETURN(const Storages storages, ReadLegacyStorages(bytes, object));
  const StorageReader read_storage = [&](const PickledStorage& storage) -> absl::StatusOr<absl::string_view> {
    const std::string name = absl::StrCat("storage \"", Excerpt(storage.key), "\"");
    const auto it = storages.find(storage.key);
    if (it == storages.end()) return Invalid(absl::StrCat(name, " is missing"));
    LOWBIT_RETURN_IF_ERROR(CheckStorageSize(storage, it->second.size(), name));
    return it->second;
  };
  return ReadTensors(object, read_storage, bytes.size());
}

absl::StatusOr<Tensors> Parse(absl::string_view bytes) {
  if (absl::StartsWith(bytes, kZipMagic)) return ParseZip(bytes);
  if (const std::optional<size_t> position = SkipLegacyMagic(bytes); position.has_value()) {
    return ParseLegacy(bytes, *position);
  }
  return Invalid(absl::StrCat(
      "not a PyTorch checkpoint (a zip file, or the pickles of PyTorch before 1.6), or cut off: ", "it has ",
      bytes.size(), " bytes and begins with \"", Excerpt(bytes.substr(0, 16)), "\""));
}

}  // namespace

bool IsTorchCheckpoint(absl::string_view bytes) {
  return absl::StartsWith(bytes, kZipMagic) || SkipLegacyMagic(bytes).has_value();
}

absl::StatusOr<std::map<std::string, TensorBlob>> LoadTorchCheckpoint(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return ParseTorchCheckpoint(bytes, path);
}

absl::StatusOr<std::map<std::string, TensorBlob>> ParseTorchCheckpoint(absl::string_view bytes,
                                                                       absl::string_view name) {
  absl::StatusOr<Tensors> tensors = Parse(bytes);
  if (!tensors.ok()) return At(name, tensors.status());
  return tensors;
}

}  // namespace lowbit
