#include "runtime/fuzz/mutate.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "artifact/network.pb.h"
#include "artifact/safetensors.h"
#include "base/check.h"
#include "base/text_format_error.h"
#include "google/protobuf/text_format.h"
#include "model/graph_proto.h"
#include "quant/packing.h"
#include "quant/quant_params.h"

namespace lowbit {
namespace {

template <typename T, size_t n>
const T& Choose(const T (&values)[n], Rng* random) {
  return values[random->UniformInt(n)];
}

size_t Place(size_t size, Rng* random) { return static_cast<size_t>(random->UniformInt(static_cast<int64_t>(size))); }

// Near to where sizes overflow, or just wrong.
constexpr int64_t kNumbers[] = {-1,
                                0,
                                1,
                                2,
                                3,
                                4,
                                5,
                                7,
                                8,
                                9,
                                16,
                                17,
                                31,
                                64,
                                100,
                                255,
                                256,
                                1000,
                                4096,
                                65535,
                                65536,
                                1 << 20,
                                1 << 24,
                                1 << 28,
                                (int64_t{1} << 31) - 1,
                                int64_t{1} << 31,
                                (int64_t{1} << 31) + 1,
                                int64_t{1} << 32,
                                int64_t{1} << 40,
                                int64_t{1} << 62,
                                std::numeric_limits<int64_t>::max(),
                                std::numeric_limits<int64_t>::min()};

constexpr float kFloats[] = {0.0f,
                             -0.0f,
                             1.0f,
                             -1.0f,
                             0.5f,
                             1e-45f,
                             1e-38f,
                             -1e-38f,
                             3.4e38f,
                             -3.4e38f,
                             1e10f,
                             1e-10f,
                             128.0f,
                             -128.5f,
                             std::numeric_limits<float>::infinity(),
                             std::numeric_limits<float>::quiet_NaN()};

// ---- Changes to bytes ----

void ChangeBytes(const std::vector<std::string>& seeds, Rng* random, std::string* bytes) {
  if (bytes->empty()) return;
  const size_t at = Place(bytes->size(), random);
  const size_t length = std::min(bytes->size() - at, size_t{1} << random->UniformInt(8));
  switch (random->UniformInt(7)) {
    case 0:
      (*bytes)[at] = static_cast<char>((*bytes)[at] ^ (1 << random->UniformInt(8)));
      break;
    case 1:
      (*bytes)[at] = static_cast<char>(random->UniformInt(256));
      break;
    case 2:
      bytes->resize(at);
      break;
    case 3:
      bytes->erase(at, length);
      break;
    case 4:
      bytes->insert(at, bytes->substr(at, length));
      break;
    case 5: {  // the head of one and the tail of another
      const std::string& other = seeds[Place(seeds.size(), random)];
      bytes->replace(at, std::string::npos, other, Place(other.size(), random), std::string::npos);
      break;
    }
    default: {  // the header's length, or another number of 8 bytes
      const int64_t number = random->Bernoulli(0.5) ? Choose(kNumbers, random) : random->UniformInt(1 << 14);
      const size_t place = random->Bernoulli(0.5) ? 0 : at;
      if (place + sizeof(number) <= bytes->size()) std::memcpy(&(*bytes)[place], &number, sizeof(number));
    }
  }
}

// ---- Changes to text ----

bool IsNumberCharacter(char c) { return absl::ascii_isdigit(c) || c == '-' || c == '.' || c == 'e'; }

// A number of the text, chosen by chance, becomes another.
void ChangeNumber(Rng* random, std::string* text) {
  std::vector<std::pair<size_t, size_t>> numbers;  // begin, end
  for (size_t i = 0; i < text->size(); ++i) {
    // (One that is not the end of a name.)
    if (!absl::ascii_isdigit((*text)[i]) || i == 0 || !absl::ascii_isspace((*text)[i - 1])) continue;
    size_t end = i;
    while (end < text->size() && IsNumberCharacter((*text)[end])) ++end;
    numbers.emplace_back(i, end);
    i = end;
  }
  if (numbers.empty()) return;
  const auto [begin, end] = numbers[Place(numbers.size(), random)];
  text->replace(
      begin, end - begin,
      random->Bernoulli(0.15) ? absl::StrCat(Choose(kFloats, random)) : absl::StrCat(Choose(kNumbers, random)));
}

// Lines go, come twice, change places, or come from another network.
void ChangeLines(const std::string& other_text, Rng* random, std::string* text) {
  std::vector<std::string> lines = absl::StrSplit(*text, '\n');
  const std::vector<std::string> others = absl::StrSplit(other_text, '\n');
  const size_t at = Place(lines.size(), random);
  const size_t to = Place(lines.size(), random);
  // A whole block as often as a line: up to the brace that closes it.
  size_t count = 1;
  if (random->Bernoulli(0.5)) {
    int depth = 0;
    do {
      const std::string& line = lines[at + count - 1];
      depth += static_cast<int>(std::count(line.begin(), line.end(), '{') - std::count(line.begin(), line.end(), '}'));
    } while (depth > 0 && at + count < lines.size() && ++count > 0);
  }
  const auto begin = lines.begin() + static_cast<int64_t>(at);
  const std::vector<std::string> block(begin, begin + static_cast<int64_t>(count));
  switch (random->UniformInt(4)) {
    case 0:
      lines.erase(begin, begin + static_cast<int64_t>(count));
      break;
    case 1:
      lines.insert(lines.begin() + static_cast<int64_t>(to), block.begin(), block.end());
      break;
    case 2:
      std::swap(lines[at], lines[to]);
      break;
    default:
      lines[at] = others[Place(others.size(), random)];
  }
  *text = absl::StrJoin(lines, "\n");
}

// ---- Changes to tensors ----

void ChangeTensor(Rng* random, SafetensorsFile* file) {
  if (file->tensors.empty()) return;
  const auto it = std::next(file->tensors.begin(), static_cast<int64_t>(Place(file->tensors.size(), random)));
  TensorBlob& tensor = it->second;
  constexpr DType kTypes[] = {DType::kF32, DType::kU8, DType::kI8, DType::kF16, DType::kI32};
  switch (random->UniformInt(6)) {
    case 0:
      file->tensors.erase(it);
      break;
    case 1:  // another name; the bytes may be missed where they were
      file->tensors.emplace(absl::StrCat(it->first, random->Bernoulli(0.5) ? "_scale" : "x"), tensor);
      break;
    case 2:  // of the same number of bytes, so that it can be written
      tensor.dtype = DType::kU8;
      tensor.shape = {static_cast<int64_t>(tensor.bytes.size())};
      break;
    case 3:
      tensor.dtype = Choose(kTypes, random);
      tensor.bytes.resize(tensor.bytes.size() / 4 * 4);
      tensor.shape = {static_cast<int64_t>(tensor.bytes.size()) * 8 / DTypeBits(tensor.dtype)};
      break;
    default:
      if (tensor.dtype == DType::kF32 && tensor.bytes.size() >= sizeof(float)) {
        const float value = Choose(kFloats, random);
        const size_t at = Place(tensor.bytes.size() / sizeof(float), random);
        std::memcpy(&tensor.bytes[at * sizeof(float)], &value, sizeof(float));
      } else if (!tensor.bytes.empty()) {
        tensor.bytes[Place(tensor.bytes.size(), random)] = static_cast<char>(random->UniformInt(256));
      }
  }
}

constexpr char kNetworkKey[] = "lowbit.network";

// `size` bytes that begin like `bytes`.
void Refill(int64_t size, std::string* bytes) {
  if (bytes->empty()) bytes->push_back('\x11');
  while (static_cast<int64_t>(bytes->size()) < size) bytes->append(bytes->substr(0, size - bytes->size()));
  bytes->resize(static_cast<size_t>(size));
}

// Tensors get the shapes that the network's text asks for, so that a changed geometry is not refused for its weights.
// Does nothing where there is no network, or a large one.
void Refit(SafetensorsFile* file) {
  NetworkProto proto;
  TextFormatError quiet;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&quiet);
  if (!parser.ParseFromString(file->metadata[kNetworkKey], &proto)) return;
  const auto graph = GraphFromProto(proto);
  if (!graph.ok()) return;
  std::map<std::string, int> bits;
  for (const auto& weight : proto.quantization().weights()) bits[weight.layer()] = weight.bits();
  for (const Layer& layer : graph->layers()) {
    for (const auto& [parameter, shape] : ParameterShapes(layer.op)) {
      constexpr int64_t kMost = 1 << 14;
      int64_t numbers = 1;
      for (const int64_t extent : shape) numbers = std::min(kMost + 1, numbers * std::min(extent, kMost + 1));
      if (numbers > kMost) return;
      const std::string name = absl::StrCat(layer.name, ".", parameter);
      TensorBlob& tensor = file->tensors[name];
      if (parameter != "weight" || bits.count(layer.name) == 0) {
        tensor.dtype = DType::kF32;
        tensor.shape = shape;
        Refill(numbers * 4, &tensor.bytes);
        continue;
      }
      const int width = bits[layer.name];
      if (!IsSupportedWidth(width)) return;
      const int64_t row = numbers / shape[0];
      tensor.dtype = DType::kU8;
      tensor.shape = {shape[0], PackedRowBytes(row, width)};
      Refill(tensor.shape[0] * tensor.shape[1], &tensor.bytes);
      const int unused = static_cast<int>(tensor.shape[1] * 8 - row * width);
      for (int64_t o = 0; o < shape[0]; ++o) {
        char& last = tensor.bytes[static_cast<size_t>((o + 1) * tensor.shape[1] - 1)];
        last = static_cast<char>(static_cast<unsigned char>(last) & (0xff >> unused));
      }
      for (const char* of_channel : {"_scale", "_zero_point", "_bases"}) {
        const auto found = file->tensors.find(absl::StrCat(name, of_channel));
        if (found == file->tensors.end() || found->second.shape.empty() || found->second.shape[0] == 1) continue;
        found->second.shape[0] = shape[0];
        int64_t count = 1;
        for (const int64_t extent : found->second.shape) count *= extent;
        Refill(count * 4, &found->second.bytes);
      }
    }
  }
}

}  // namespace

std::string Mutate(std::string bytes, const std::vector<std::string>& seeds, Rng* random) {
  const int64_t changes = 1 + random->UniformInt(random->Bernoulli(0.5) ? 1 : 4);
  const bool whole = random->Bernoulli(0.75);
  for (int64_t i = 0; i < changes; ++i) {
    auto file = ParseSafetensors(bytes, "");
    if (!whole || !file.ok() || file->metadata.count(kNetworkKey) == 0) {
      ChangeBytes(seeds, random, &bytes);
      continue;
    }
    std::string& text = file->metadata[kNetworkKey];
    const int64_t kind = random->UniformInt(10);
    if (kind < 6) {
      ChangeNumber(random, &text);
    } else if (kind < 8) {
      const auto other = ParseSafetensors(seeds[Place(seeds.size(), random)], "");
      LOWBIT_CHECK(other.ok(), other.status().message());
      ChangeLines(other->metadata.at(kNetworkKey), random, &text);
    } else {
      ChangeTensor(random, &*file);
    }
    if (random->Bernoulli(0.7)) Refit(&*file);
    // What the format cannot hold stays as it was.
    auto again = SerializeSafetensors(*file);
    if (again.ok()) bytes = *std::move(again);
  }
  return bytes;
}

}  // namespace lowbit
