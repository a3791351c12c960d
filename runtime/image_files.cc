#include "runtime/image_files.h"

#include <stb/stb_image.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "data/cifar10.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

std::string Extension(const std::string& path) { return absl::AsciiStrToLower(fs::path(path).extension().string()); }

bool IsPicture(const std::string& path) {
  const std::string extension = Extension(path);
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

absl::Status Invalid(const std::string& path, const std::string& message) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", message));
}

std::string Describe(const ImageShape& shape) {
  return absl::StrCat(shape.width, " x ", shape.height, " pixels of ", shape.channels,
                      shape.channels == 1 ? " channel" : " channels");
}

absl::Status AppendPicture(const std::string& path, const ImageShape& shape, ImageList* images) {
  if (shape.channels != 1 && shape.channels != 3) {
    return Invalid(path,
                   absl::StrCat("the network takes images of ", shape.channels, " channels, pictures have 1 or 3"));
  }
  LOWBIT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) return Invalid(path, "too large a file");
  const auto* const data = reinterpret_cast<const unsigned char*>(bytes.data());
  const int size = static_cast<int>(bytes.size());
  ImageShape got = shape;
  int channels = 0;
  // Before anything is decoded: a small file may say that it is a picture of gigabytes.
  if (stbi_info_from_memory(data, size, &got.width, &got.height, &channels) == 0) {
    return Invalid(path, absl::StrCat("not a PNG or JPEG picture: ", stbi_failure_reason()));
  }
  if (!(got == shape)) {
    return Invalid(
        path, absl::StrCat("got ", got.width, " x ", got.height, " pixels, wanted ", shape.width, " x ", shape.height));
  }
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(data, size, &got.width, &got.height, &channels, shape.channels), stbi_image_free);
  if (pixels == nullptr) return Invalid(path, absl::StrCat("broken picture: ", stbi_failure_reason()));
  for (int c = 0; c < shape.channels; ++c) {
    for (int64_t i = 0; i < shape.area(); ++i) images->pixels.push_back(pixels.get()[i * shape.channels + c]);
  }
  images->names.push_back(fs::path(path).filename().string());
  images->labels.push_back(-1);
  return absl::OkStatus();
}

absl::Status AppendBatch(const std::string& path, const ImageShape& shape, int64_t classes, ImageList* images) {
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> batch, OpenCifar10File(path));
  if (!(batch->image_shape() == shape)) {
    return Invalid(path, absl::StrCat("got images of ", Describe(batch->image_shape()), ", wanted ", Describe(shape)));
  }
  if (batch->num_classes() != classes) {
    return Invalid(path,
                   absl::StrCat("got labels of ", batch->num_classes(), " classes, the network tells apart ", classes));
  }
  const std::string name = fs::path(path).filename().string();
  const size_t size = static_cast<size_t>(shape.size());
  const size_t begin = images->pixels.size();
  images->pixels.resize(begin + static_cast<size_t>(batch->size()) * size);
  for (int64_t i = 0; i < batch->size(); ++i) {
    images->names.push_back(absl::StrCat(name, "[", i, "]"));
    images->labels.push_back(-1);
    uint8_t* const pixels = images->pixels.data() + begin + static_cast<size_t>(i) * size;
    LOWBIT_RETURN_IF_ERROR(batch->Get(i, pixels, &images->labels.back()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> PicturesIn(const std::string& folder) {
  std::vector<std::string> pictures;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (IsPicture(entry.path().string())) pictures.push_back(entry.path().string());
  }
  if (error) return Invalid(folder, absl::StrCat("cannot read the folder: ", error.message()));
  if (pictures.empty()) return Invalid(folder, "the folder has no PNG or JPEG file");
  std::sort(pictures.begin(), pictures.end());
  return pictures;
}

}  // namespace

absl::StatusOr<ImageList> ReadImages(const std::vector<std::string>& paths, const ImageShape& shape, int64_t classes) {
  ImageList images;
  for (const std::string& path : paths) {
    std::error_code error;
    if (Extension(path) == ".bin") {
      LOWBIT_RETURN_IF_ERROR(AppendBatch(path, shape, classes, &images));
    } else if (fs::is_directory(path, error)) {
      LOWBIT_ASSIGN_OR_RETURN(const std::vector<std::string> pictures, PicturesIn(path));
      for (const std::string& picture : pictures) LOWBIT_RETURN_IF_ERROR(AppendPicture(picture, shape, &images));
    } else {
      LOWBIT_RETURN_IF_ERROR(AppendPicture(path, shape, &images));
    }
  }
  return images;
}

}  // namespace lowbit
