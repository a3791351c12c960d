#include "pipeline/paths.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

// A file and when it was written last.
struct FoundFile {
  fs::path path;
  fs::file_time_type time;
};

// A file that was found is newer than none. Of two of the same moment it is the one with the later name, so that the
// answer does not depend on a folder's order.
bool IsNewer(const FoundFile& a, const FoundFile& b) {
  if (a.path.empty() || b.path.empty()) return !a.path.empty();
  return a.time > b.time || (a.time == b.time && a.path > b.path);
}

using OnFile = std::function<void(const fs::path& path, fs::file_time_type time)>;

// Files that vanish meanwhile are passed over.
void ForEachFile(const fs::path& folder, const OnFile& on_file) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code gone;
    const fs::file_time_type time = entry.last_write_time(gone);
    if (!gone) on_file(entry.path(), time);
  }
}

// The files of a run: its own, and those of its sweep's values, each of which has a folder in it.
void ForEachFileOfRun(const fs::path& run, const OnFile& on_file) {
  ForEachFile(run, on_file);
  ForEachFile(run, [&](const fs::path& path, fs::file_time_type) { ForEachFile(path, on_file); });
}

void ForEachFileOfRuns(const std::string& output_dir, const OnFile& on_file) {
  ForEachFile(output_dir, [&](const fs::path& path, fs::file_time_type) { ForEachFileOfRun(path, on_file); });
}

// What train, reconstruct and distill steps leave to go on from.
bool IsCheckpoint(const fs::path& file) {
  const std::string name = file.filename().string();
  return file.extension() == ".safetensors" &&
         (name == "checkpoint.safetensors" || absl::StartsWith(name, "reconstruction") ||
          absl::StartsWith(name, "distillation"));
}

// The newest file of all runs of which `wanted` says yes; empty if there is none.
std::string NewestOfAllRuns(const std::string& output_dir, const std::function<bool(const fs::path&)>& wanted) {
  FoundFile newest;
  ForEachFileOfRuns(output_dir, [&](const fs::path& path, fs::file_time_type time) {
    const FoundFile file{path, time};
    if (wanted(path) && IsNewer(file, newest)) newest = file;
  });
  return newest.path.string();
}

// <name>-YYYYmmdd-HHMMSS, and -<number> where several began in the same second.
bool IsRunOf(absl::string_view name, absl::string_view folder) {
  if (!absl::ConsumePrefix(&folder, name)) return false;
  constexpr absl::string_view kTime = "-dddddddd-dddddd";
  if (folder.size() < kTime.size()) return false;
  for (size_t i = 0; i < kTime.size(); ++i) {
    if (kTime[i] == 'd' ? !absl::ascii_isdigit(folder[i]) : folder[i] != kTime[i]) return false;
  }
  folder.remove_prefix(kTime.size());
  return folder.empty() || (absl::ConsumePrefix(&folder, "-") && !folder.empty() &&
                            std::all_of(folder.begin(), folder.end(), absl::ascii_isdigit));
}

}  // namespace

std::string JoinPath(absl::string_view folder, absl::string_view path) {
  return (fs::path(std::string(folder)) / std::string(path)).string();
}

std::string SafeFileName(absl::string_view text) {
  std::string name(text);
  for (char& c : name) {
    if (!absl::ascii_isalnum(c) && c != '=' && c != '.' && c != '-' && c != '+') c = '_';
  }
  return name;
}

std::string FetchedCifar10() {
  std::string roots[] = {"", "", ""};
  if (const char* root = std::getenv("RUNFILES_DIR")) roots[0] = root;
  if (const char* root = std::getenv("TEST_SRCDIR")) roots[1] = root;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) roots[2] = absl::StrCat(program.string(), ".runfiles");
  for (const std::string& root : roots) {
    const std::string folder = JoinPath(root, "cifar10");
    // Where the data could not be fetched there is a folder with nothing in it.
    if (!root.empty() && fs::exists(JoinPath(folder, "test_batch.bin"), error)) return folder;
  }
  return "";
}

std::string NewestPackedModel(const std::string& output_dir) {
  return NewestOfAllRuns(output_dir, [](const fs::path& path) {
    return absl::StartsWith(path.filename().string(), "model") && path.extension() == ".safetensors";
  });
}

std::vector<std::string> WeightsNewestFirst(const std::string& output_dir) {
  std::vector<FoundFile> files;
  ForEachFileOfRuns(output_dir, [&](const fs::path& path, fs::file_time_type time) {
    const std::string name = path.filename().string();
    if (path.extension() == ".safetensors" && !absl::StartsWith(name, "model") && !IsCheckpoint(path)) {
      files.push_back({path, time});
    }
  });
  std::sort(files.begin(), files.end(), IsNewer);
  std::vector<std::string> paths;
  for (const FoundFile& file : files) paths.push_back(file.path.string());
  return paths;
}

std::string NewestTorchInt8Model(const std::string& output_dir) {
  return NewestOfAllRuns(output_dir, [](const fs::path& path) { return path.filename() == "int8.pt"; });
}

std::string NewestCheckpoint(const std::string& output_dir, absl::string_view name) {
  FoundFile newest;
  std::string newest_run;
  ForEachFile(output_dir, [&](const fs::path& run, fs::file_time_type) {
    if (!IsRunOf(name, run.filename().string())) return;
    ForEachFileOfRun(run, [&](const fs::path& path, fs::file_time_type time) {
      const FoundFile file{path, time};
      if (!IsCheckpoint(path) || !IsNewer(file, newest)) return;
      newest = file;
      newest_run = run.string();
    });
  });
  return newest_run;
}

}  // namespace lowbit
