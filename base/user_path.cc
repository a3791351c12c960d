#include "base/user_path.h"

#include <cstdlib>
#include <filesystem>

namespace lowbit {

std::string UserPath(absl::string_view path) {
  const char* folder = std::getenv("BUILD_WORKING_DIRECTORY");
  if (folder == nullptr || path.empty()) return std::string(path);
  return (std::filesystem::path(folder) / std::string(path)).string();
}

}  // namespace lowbit
