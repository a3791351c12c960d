#include "base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lowbit {
namespace {

constexpr double kSecondsBetweenDrawings = 0.1;
constexpr double kSecondsBetweenLines = 10;
constexpr int kLeastBarCells = 10;
constexpr int kMostBarCells = 40;
constexpr char kEraseLine[] = "\r\033[K";

std::string Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsTerminal(std::FILE* out) { return isatty(fileno(out)) == 1 && Environment("TERM") != "dumb"; }

// Only where the locale says something else: containers often set none, under a terminal that shows UTF-8.
bool IsUnicode() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string value = absl::AsciiStrToLower(Environment(name));
    if (value.empty()) continue;
    return absl::StrContains(value, "utf-8") || absl::StrContains(value, "utf8");
  }
  return true;
}

int Columns(std::FILE* out) {
  winsize size = {};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool StartsCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

// Characters of a UTF-8 text; each is taken to be one column wide.
int Width(absl::string_view text) { return static_cast<int>(std::count_if(text.begin(), text.end(), StartsCharacter)); }

// The first `columns` characters.
absl::string_view Cut(absl::string_view text, int columns) {
  size_t i = 0;
  for (; i < text.size(); ++i) {
    if (StartsCharacter(text[i]) && columns-- <= 0) break;
  }
  return text.substr(0, i);
}

// A line feed in a label or note would break the line in two, an escape could do anything.
std::string WithoutControlCharacters(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return text;
}

std::string Rate(double done, double seconds, const std::string& unit) {
  if (done <= 0 || seconds <= 0) return "";
  const double rate = done / seconds;
  return rate < 10 ? absl::StrFormat("%.2f %s/s", rate, unit) : absl::StrFormat("%.0f %s/s", rate, unit);
}

// `fraction` of `cells` filled, to an eighth of a cell.
std::string Bar(double fraction, int cells, bool unicode, bool colour) {
  static const char* const kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(std::floor(fraction * cells * 8));
  std::string filled, empty;
  for (int i = 0; i < eighths / 8; ++i) filled += unicode ? "█" : "#";
  int cells_left = cells - eighths / 8;
  if (unicode && eighths % 8 != 0) {
    filled += kEighths[eighths % 8];
    --cells_left;
  }
  empty.assign(cells_left, unicode ? ' ' : '.');
  return colour ? absl::StrCat("\033[36m", filled, "\033[0m", empty) : absl::StrCat(filled, empty);
}

}  // namespace

std::string FormatDuration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (seconds < 59.95) return absl::StrFormat("%.1fs", seconds);
  if (whole < 3600) return absl::StrFormat("%dm%02ds", whole / 60, whole % 60);
  if (whole < 86400) return absl::StrFormat("%dh%02dm", whole / 3600, whole / 60 % 60);
  return absl::StrFormat("%dd%02dh", whole / 86400, whole / 3600 % 24);
}

namespace internal {

// Everything here is guarded by the one lock of Screen: drawings of several bars must not mix.
class ProgressBar {
 public:
  ProgressBar(std::string label, int64_t total, std::string unit, ProgressOptions options)
      : label_(WithoutControlCharacters(std::move(label))),
        total_(total),
        unit_(WithoutControlCharacters(std::move(unit))),
        options_(std::move(options)),
        terminal_(options_.terminal.value_or(IsTerminal(options_.out))),
        unicode_(options_.unicode.value_or(IsUnicode())),
        colour_(options_.colour.value_or(Environment("NO_COLOR").empty())) {
    if (options_.clock == nullptr) options_.clock = SteadySeconds;
    start_ = last_shown_ = options_.clock();
  }

  std::FILE* out() const { return options_.out; }
  bool terminal() const { return terminal_; }
  void Advance(int64_t n) { done_ += n; }
  void SetNote(std::string note) { note_ = WithoutControlCharacters(std::move(note)); }

  // Whether it is time to show the state again; if so, the next time is counted from now.
  bool Due() {
    const double now = options_.clock();
    if (now - last_shown_ < (terminal_ ? kSecondsBetweenDrawings : kSecondsBetweenLines)) return false;
    last_shown_ = now;
    return true;
  }

  // The bar and what stands around it, without a line feed, in one line of the terminal.
  std::string Drawing() const {
    const double seconds = options_.clock() - start_;
    std::string after = Joined({Counts(true), Rate(done_, seconds, unit_), Times(seconds), note_}, "  ");
    if (total_ > 0) after = absl::StrFormat("%3d%%  %s", static_cast<int>(Fraction() * 100), after);
    // The last column stays free: a character there makes some terminals wrap.
    const int columns = options_.columns.value_or(Columns(options_.out)) - 1;
    // Its length depends on nothing that changes, so that the bar does not jump about.
    const int cells = std::min(columns / 4, kMostBarCells);
    const std::string before = absl::StrCat(label_, "  ");
    const int columns_after = columns - Width(before) - cells - 2;
    if (total_ <= 0 || cells < kLeastBarCells || columns_after <= 0) return std::string(Cut(before + after, columns));
    return absl::StrCat(before, Bar(Fraction(), cells, unicode_, colour_), "  ", Cut(after, columns_after));
  }

  std::string PlainLine() const {
    const double seconds = options_.clock() - start_;
    std::string counts = Counts();
    if (total_ > 0) absl::StrAppendFormat(&counts, " (%d%%)", static_cast<int>(Fraction() * 100));
    const std::string left = ToGo(seconds);
    return absl::StrCat(label_, ": ",
                        Joined({counts, Rate(done_, seconds, unit_), FormatDuration(seconds) + " elapsed",
                                left.empty() ? "" : left + " to go", note_},
                               ", "));
  }

  std::string LastLine() const {
    const double seconds = options_.clock() - start_;
    const bool early = done_ < total_;
    return absl::StrCat(label_, ": ", early ? "stopped at " : "",
                        Joined({absl::StrCat(Counts(), early ? " after " : " in ", FormatDuration(seconds)),
                                Rate(done_, seconds, unit_), note_},
                               ", "));
  }

 private:
  static std::string Joined(const std::vector<std::string>& parts, absl::string_view separator) {
    std::string result;
    for (const std::string& part : parts) {
      if (!part.empty()) absl::StrAppend(&result, result.empty() ? "" : separator, part);
    }
    return result;
  }

  double Fraction() const {
    return std::min(1.0, std::max(0.0, static_cast<double>(done_) / static_cast<double>(total_)));
  }

  // "6200/10000 img"; aligned: as wide as it will be at the end.
  std::string Counts(bool aligned = false) const {
    const std::string done = absl::StrCat(done_), total = absl::StrCat(total_);
    if (total_ <= 0) return absl::StrCat(done, " ", unit_);
    const size_t missing = aligned && done.size() < total.size() ? total.size() - done.size() : 0;
    return absl::StrCat(std::string(missing, ' '), done, "/", total, " ", unit_);
  }

  std::string ToGo(double seconds) const {
    if (total_ <= 0 || done_ <= 0) return "";
    return FormatDuration(seconds * std::max(0.0, static_cast<double>(total_ - done_) / static_cast<double>(done_)));
  }

  std::string Times(double seconds) const {
    const std::string left = ToGo(seconds);
    return left.empty() ? FormatDuration(seconds) : absl::StrCat(FormatDuration(seconds), " < ", left);
  }

  const std::string label_;
  const int64_t total_;
  const std::string unit_;
  ProgressOptions options_;
  const bool terminal_;
  const bool unicode_;
  const bool colour_;
  double start_ = 0;
  double last_shown_ = 0;
  int64_t done_ = 0;
  std::string note_;
};

}  // namespace internal

namespace {

using internal::ProgressBar;

void Print(std::FILE* out, absl::string_view text) {
  std::fwrite(text.data(), 1, text.size(), out);
  std::fflush(out);
}

// The bars that are alive, oldest first. On each terminal the newest one is drawn.
class Screen {
 public:
  static Screen& Get() {
    static auto* const screen = new Screen;
    return *screen;
  }

  std::mutex& mutex() { return mutex_; }

  void Add(ProgressBar* bar) {
    Erase();
    bars_.push_back(bar);
    Draw();
  }

  void Remove(ProgressBar* bar) {
    Erase();
    bars_.erase(std::find(bars_.begin(), bars_.end(), bar));
    Print(bar->out(), bar->LastLine() + "\n");
    Draw();
  }

  void Changed(ProgressBar* bar) {
    if (!bar->Due()) return;
    if (!bar->terminal()) {
      Erase();
      Print(bar->out(), bar->PlainLine() + "\n");
      Draw();
    } else if (IsShown(bar)) {
      Print(bar->out(), kEraseLine + bar->Drawing());
    }
  }

  void PrintAbove(std::FILE* out, absl::string_view text) {
    Erase();
    Print(out, absl::StrCat(text, "\n"));
    Draw();
  }

 private:
  bool IsShown(const ProgressBar* bar) const {
    if (!bar->terminal()) return false;
    for (auto it = bars_.rbegin(); it != bars_.rend(); ++it) {
      if ((*it)->terminal() && (*it)->out() == bar->out()) return *it == bar;
    }
    return false;
  }

  void Erase() {
    for (ProgressBar* bar : bars_) {
      if (IsShown(bar)) Print(bar->out(), kEraseLine);
    }
  }

  void Draw() {
    for (ProgressBar* bar : bars_) {
      if (IsShown(bar)) Print(bar->out(), bar->Drawing());
    }
  }

  std::mutex mutex_;
  std::vector<ProgressBar*> bars_;
};

}  // namespace

Progress::Progress(std::string label, int64_t total, std::string unit, ProgressOptions options)
    : bar_(std::make_unique<internal::ProgressBar>(std::move(label), total, std::move(unit), std::move(options))) {
  std::lock_guard<std::mutex> lock(Screen::Get().mutex());
  Screen::Get().Add(bar_.get());
}

Progress::~Progress() { Finish(); }

void Progress::Advance(int64_t n) {
  std::lock_guard<std::mutex> lock(Screen::Get().mutex());
  if (bar_ == nullptr) return;
  bar_->Advance(n);
  Screen::Get().Changed(bar_.get());
}

void Progress::SetNote(std::string note) {
  std::lock_guard<std::mutex> lock(Screen::Get().mutex());
  if (bar_ == nullptr) return;
  bar_->SetNote(std::move(note));
  Screen::Get().Changed(bar_.get());
}

void Progress::Finish() {
  std::lock_guard<std::mutex> lock(Screen::Get().mutex());
  if (bar_ == nullptr) return;
  Screen::Get().Remove(bar_.get());
  bar_ = nullptr;
}

void LogLine(absl::string_view text, std::FILE* out) {
  std::lock_guard<std::mutex> lock(Screen::Get().mutex());
  Screen::Get().PrintAbove(out, text);
}

}  // namespace lowbit
