#include "runtime/runtime_main.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/command_line.h"
#include "base/field_error.h"
#include "base/program.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/user_path.h"
#include "data/image_metadata.h"
#include "data/normalize.h"
#include "runtime/answers.h"
#include "runtime/image_files.h"
#include "runtime/network.h"

namespace lowbit {
namespace {

constexpr int kMostThreads = 1024;

struct RuntimeFlags {
  std::string model;
  std::vector<std::string> images;
  std::string mean;
  std::string std;
  int top_k = 3;
  int threads = 1;
  int batch_size = 256;
  int repeat = 1;
  int max_rows = 20;
  bool profile = false;
  bool help = false;
};

std::vector<CommandLineFlag> AllFlags(RuntimeFlags* flags) {
  return {
      {"model", "the packed model: a model.safetensors that the pipeline saved", &flags->model},
      {"images",
       "what to classify: PNG or JPEG files, a folder of them, or a batch of CIFAR-10 (*.bin); several with commas "
       "between them, or the flag repeated",
       &flags->images},
      {"top_k", "so many classes are shown for each image (default: 3)", &flags->top_k},
      {"max_rows", "the table shows so many images, 0: all (default: 20)", &flags->max_rows},
      {"threads", "threads to compute with, 0: one for each core (default: 1)", &flags->threads},
      {"batch_size", "images in a call: 1 to see the latency of a single one (default: 256)", &flags->batch_size},
      {"repeat", "classifies all images so many times, for the timings (default: 1)", &flags->repeat},
      {"profile", "prints the time of each step of the network, and the memory", &flags->profile},
      {"mean", "of each channel, of values from 0 to 1: \"0.49,0.48,0.45\"; without it, the model's", &flags->mean},
      {"std", "likewise the standard deviations that images are divided by; without it, the model's", &flags->std},
  };
}

std::string HelpText() {
  RuntimeFlags unused;
  return absl::StrCat(
      "Lowbit's runtime: classifies images with a packed model, in integers and without LibTorch.\n\n",
      "  tools/bazel run //runtime -- --model=out/<run>/model.safetensors --images=cat.png\n\n",
      CommandLineHelp(AllFlags(&unused)),
      "\nThe environment variable LOWBIT_CPU (reference, portable, avx2, avx512vnni, avx512popcnt) chooses the "
      "kernels.\n",
      "Exit code: 0 done, 1 the run failed, 2 a mistake in the model, the images or the command line.\n");
}

absl::Status CheckRange(const char* flag, int value, int lowest, int highest) {
  if (value >= lowest && value <= highest) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--", flag, "=", value, ": must be in [", lowest, ", ", highest, "]"));
}

absl::StatusOr<RuntimeFlags> ParseFlags(const std::vector<std::string>& arguments) {
  constexpr int kMost = 1 << 20;
  RuntimeFlags flags;
  LOWBIT_RETURN_IF_ERROR(
      ParseCommandLine(arguments, "images are given as --images=<files>", AllFlags(&flags), &flags.help));
  if (flags.help) return flags;
  LOWBIT_RETURN_IF_ERROR(CheckRange("top_k", flags.top_k, 1, kMost));
  LOWBIT_RETURN_IF_ERROR(CheckRange("max_rows", flags.max_rows, 0, kMost));
  LOWBIT_RETURN_IF_ERROR(CheckRange("threads", flags.threads, 0, kMostThreads));
  LOWBIT_RETURN_IF_ERROR(CheckRange("batch_size", flags.batch_size, 1, kMost));
  LOWBIT_RETURN_IF_ERROR(CheckRange("repeat", flags.repeat, 1, kMost));
  if (flags.model.empty()) return absl::InvalidArgumentError("--model=<file> is missing; --help says more");
  if (flags.images.empty()) return absl::InvalidArgumentError("--images=<files> is missing; --help says more");
  if (flags.threads == 0) flags.threads = std::clamp<int>(std::thread::hardware_concurrency(), 1, kMostThreads);
  return flags;
}

class Stopwatch {
 public:
  double Seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  // Of the processor's time stamp counter, which runs at its nominal clock rate; 0 where there is none.
  uint64_t Cycles() const { return Counter() - cycles_; }

 private:
  static uint64_t Counter() {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return 0;
#endif
  }

  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  const uint64_t cycles_ = Counter();
};

// Mean or std: the flag's, else the model's.
absl::StatusOr<std::vector<float>> Numbers(const std::string& model, const char* flag, const std::string& given,
                                           const absl::StatusOr<std::vector<float>>& stored) {
  if (!given.empty()) return ParseChannelNumbers(absl::StrCat("--", flag), given);
  if (stored.ok()) return stored;
  const bool missing = absl::IsNotFound(stored.status());
  return absl::InvalidArgumentError(absl::StrCat(model, ": ", stored.status().message(),
                                                 missing ? absl::StrCat(", so --", flag, "=<numbers> is needed") : ""));
}

absl::StatusOr<Normalizer> MakeNormalizer(const RuntimeFlags& flags, const IntegerNetwork& network,
                                          const ImageShape& shape) {
  const auto& metadata = network.metadata();
  Normalization normalization;
  LOWBIT_ASSIGN_OR_RETURN(normalization.mean, Numbers(flags.model, "mean", flags.mean, StoredMean(metadata)));
  LOWBIT_ASSIGN_OR_RETURN(normalization.std, Numbers(flags.model, "std", flags.std, StoredStd(metadata)));
  auto normalizer = Normalizer::Create(normalization, shape);
  if (normalizer.ok()) return normalizer;
  const std::string field = ErrorField(normalizer.status()).value_or("");
  const bool from_flag = !(absl::StartsWith(field, "mean") ? flags.mean : flags.std).empty();
  return absl::InvalidArgumentError(
      absl::StrCat(from_flag ? "--" : absl::StrCat(flags.model, ": "), field, ": ", normalizer.status().message()));
}

// What is classified, and by what.
struct Job {
  std::shared_ptr<const IntegerNetwork> network;
  std::vector<std::string> class_names;
  ImageShape shape;
  ImageList images;
  std::unique_ptr<Normalizer> normalizer;
};

absl::StatusOr<Job> Prepare(const RuntimeFlags& flags, double* load_seconds) {
  Job job;
  const Stopwatch load;
  LOWBIT_ASSIGN_OR_RETURN(job.network, IntegerNetwork::Load(UserPath(flags.model)));
  *load_seconds = load.Seconds();
  // (The planner refuses what would not fit.)
  job.shape = {static_cast<int>(job.network->channels()), static_cast<int>(job.network->height()),
               static_cast<int>(job.network->width())};
  const int64_t classes = job.network->outputs();
  job.class_names = StoredClassNames(job.network->metadata());
  if (!job.class_names.empty() && static_cast<int64_t>(job.class_names.size()) != classes) {
    return absl::InvalidArgumentError(absl::StrCat(flags.model, ": it names ", job.class_names.size(),
                                                   " classes, but puts out ", classes, " numbers"));
  }
  LOWBIT_ASSIGN_OR_RETURN(Normalizer normalizer, MakeNormalizer(flags, *job.network, job.shape));
  job.normalizer = std::make_unique<Normalizer>(std::move(normalizer));
  std::vector<std::string> paths;
  for (const std::string& list : flags.images) {
    for (const absl::string_view path : absl::StrSplit(list, ',', absl::SkipEmpty())) paths.push_back(UserPath(path));
  }
  LOWBIT_ASSIGN_OR_RETURN(job.images, ReadImages(paths, job.shape, classes));
  if (job.images.size() == 0) return absl::InvalidArgumentError("--images names no file");
  return job;
}

// Classifies `count` images from `begin` on. Returns the seconds that the network took.
absl::StatusOr<double> Classify(const Job& job, int64_t begin, int64_t count, IntegerSession* session,
                                std::vector<float>* inputs, float* outputs) {
  const int64_t size = job.shape.size();
  inputs->resize(static_cast<size_t>(count * size));
  for (int64_t i = 0; i < count; ++i) {
    job.normalizer->Apply(job.images.pixels.data() + (begin + i) * size, inputs->data() + i * size);
  }
  const Stopwatch run;
  LOWBIT_RETURN_IF_ERROR(session->Run(inputs->data(), count, outputs));
  return run.Seconds();
}

// "123.4 MiB" of the memory that the process had resident at most; empty where the system does not say.
std::string PeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    int64_t kib = 0;
    if (absl::StartsWith(line, "VmHWM:") && absl::SimpleAtoi(absl::StripSuffix(line.substr(6), "kB"), &kib)) {
      return absl::StrFormat("%.1f MiB", static_cast<double>(kib) / 1024);
    }
  }
  return "";
}

std::string MedianRate(std::vector<double> seconds, int64_t images) {
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const auto rate = [&](double of) { return static_cast<double>(images) / of; };
  std::string text = absl::StrFormat("%.0f images/s, %.3f ms an image", rate(median), 1e3 / rate(median));
  if (seconds.size() > 1) {
    absl::StrAppend(&text, absl::StrFormat(" (median of %d passes; best %.0f, worst %.0f images/s)", seconds.size(),
                                           rate(seconds.front()), rate(seconds.back())));
  }
  return text;
}

absl::StatusOr<std::string> Run(const RuntimeFlags& flags, const Job& job, double load_seconds) {
  const int64_t classes = job.network->outputs();
  const int64_t images = job.images.size();
  std::vector<float> inputs;
  std::vector<float> outputs(static_cast<size_t>(images * classes));

  const Stopwatch first;
  IntegerSession session(job.network, flags.threads);
  LOWBIT_RETURN_IF_ERROR(Classify(job, 0, 1, &session, &inputs, outputs.data()).status());
  LogLine(absl::StrFormat("loaded in %.1f ms, first answer after another %.1f ms", load_seconds * 1e3,
                          first.Seconds() * 1e3));

  if (flags.profile) session.StartProfile();
  std::vector<double> pass_seconds;
  const Stopwatch passes;
  for (int pass = 0; pass < flags.repeat; ++pass) {
    double seconds = 0;
    for (int64_t begin = 0; begin < images; begin += flags.batch_size) {
      const int64_t count = std::min<int64_t>(flags.batch_size, images - begin);
      LOWBIT_ASSIGN_OR_RETURN(const double took,
                              Classify(job, begin, count, &session, &inputs, outputs.data() + begin * classes));
      seconds += took;
    }
    pass_seconds.push_back(seconds);
  }
  const double cycles_per_second = static_cast<double>(passes.Cycles()) / passes.Seconds();

  std::string text = AnswerTable(job.images, outputs, classes, job.class_names, flags.top_k,
                                 flags.max_rows == 0 ? images : flags.max_rows);
  if (flags.max_rows > 0 && images > flags.max_rows) absl::StrAppend(&text, "... ", images, " images in all\n");
  for (const int k : std::set<int>{1, flags.top_k}) {
    const Hits hits = CountHits(job.images, outputs, classes, k);
    if (hits.labelled == 0) continue;
    absl::StrAppend(&text, absl::StrFormat("top-%d accuracy: %.4f (%d of %d)\n", k,
                                           static_cast<double>(hits.hits) / static_cast<double>(hits.labelled),
                                           hits.hits, hits.labelled));
  }
  LogLine(absl::StrCat(MedianRate(pass_seconds, images), ", ", flags.threads,
                       flags.threads == 1 ? " thread" : " threads", ", batches of ",
                       std::min<int64_t>(flags.batch_size, images)));
  if (flags.profile) {
    absl::StrAppend(&text, "\n",
                    ProfileTable(job.network->steps(), session.profile(), {images * flags.repeat, cycles_per_second}));
    LogLine(absl::StrFormat("memory: %.1f KiB for activations; at most %s resident in the whole process",
                            static_cast<double>(session.memory_bytes()) / 1024, PeakMemory()));
  }
  return text;
}

int Main(const std::vector<std::string>& arguments) {
  const absl::StatusOr<RuntimeFlags> flags = ParseFlags(arguments);
  if (!flags.ok()) return FailWith(flags.status(), kExitUserError);
  if (flags->help) return PrintOutput(HelpText());
  double load_seconds = 0;
  const absl::StatusOr<Job> job = Prepare(*flags, &load_seconds);
  if (!job.ok()) return FailWith(job.status(), kExitUserError);
  const absl::StatusOr<std::string> text = Run(*flags, *job, load_seconds);
  return text.ok() ? PrintOutput(*text) : FailWith(text.status(), kExitRunFailed);
}

}  // namespace

int RuntimeMain(const std::vector<std::string>& arguments) {
  return RunProgram([&] { return Main(arguments); });
}

}  // namespace lowbit
