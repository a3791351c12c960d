#ifndef LOWBIT_BASE_PROGRESS_H_
#define LOWBIT_BASE_PROGRESS_H_

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace lowbit {
namespace internal {
class ProgressBar;
}  // namespace internal

struct ProgressOptions {
  std::FILE* out = stderr;
  std::optional<bool> terminal;   // unset: whether `out` is one (and TERM is not "dumb")
  std::optional<int> columns;     // the terminal's width; unset: asked of the terminal at each drawing
  std::optional<bool> unicode;    // unset: unless the locale names another encoding than UTF-8
  std::optional<bool> colour;     // unset: unless NO_COLOR is set
  std::function<double()> clock;  // seconds, never going back; unset: a steady clock
};

// A long piece of work that shows how far it is, on standard error.
//
// On a terminal it is a bar, redrawn in place at most ten times a second:
//
//   evaluate  ██████████████▉           62%   6200/10000 img  813 img/s  7.6s < 4.7s  top-1 91.4
//
// (elapsed < still to go). Elsewhere it is a plain line at most every ten seconds. Either way one last line tells the
// work done, its time and rate; after an early end (an error, an interrupt) it says "stopped at".
//
// Several may be alive at once: the newest is drawn, the others wait for it to finish. All methods may be called from
// any thread. Lines printed by LogLine() never tear a bar; so everything that is printed while work may be under way
// should go through it.
class Progress {
 public:
  // `total` counts `unit`s; zero or less: not known, which leaves out bar, percentage and time to go.
  Progress(std::string label, int64_t total, std::string unit = "img", ProgressOptions options = {});
  ~Progress();  // Finish()
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance(int64_t n);

  // Text for the end of the line, such as the loss so far; cut off where the terminal is too narrow.
  void SetNote(std::string note);

  // Prints the last line. Only the first call does anything.
  void Finish();

 private:
  std::unique_ptr<internal::ProgressBar> bar_;  // null once finished
};

// Prints `text` and a line feed to `out`, above any bar that stands on the terminal. `text` may hold several lines.
void LogLine(absl::string_view text, std::FILE* out = stderr);

// "7.6s", "4m05s", "3h07m", "2d04h".
std::string FormatDuration(double seconds);

}  // namespace lowbit

#endif  // LOWBIT_BASE_PROGRESS_H_
