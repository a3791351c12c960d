#ifndef LOWBIT_RUNTIME_NETWORK_H_
#define LOWBIT_RUNTIME_NETWORK_H_

// Runs a network that Lowbit quantized, with integer arithmetic and without LibTorch:
//
//   auto network = lowbit::IntegerNetwork::Load("model.safetensors");
//   if (!network.ok()) ...
//   lowbit::IntegerSession session(*network, /*threads=*/2);
//   std::vector<float> logits(count * (*network)->outputs());
//   absl::Status status = session.Run(images, count, logits.data());
//
// A network is const once loaded: any number of sessions, on any threads, may share it. A session has the memory that a
// run needs, so a run allocates none; it serves one caller at a time.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lowbit {

struct QuantizedModel;

// One step of a network, for people to read.
struct StepInfo {
  std::string layers;  // "layer1.0.conv2 + layer1.0.add + layer1.0.relu2"
  std::string kernel;  // "avx2 bytes"
  int64_t macs = 0;    // multiply-accumulates per image
};

class IntegerNetwork {
 public:
  // Reads a packed model that the pipeline saved, and lays its weights out for this processor's kernels; the
  // environment variable LOWBIT_CPU (reference, portable, avx2, avx512vnni, avx512popcnt) forces those of another.
  // InvalidArgument, which names the file and the place in it, for any file that is not such a model.
  static absl::StatusOr<std::shared_ptr<const IntegerNetwork>> Load(const std::string& path);

  // The same from memory; messages call it `name`.
  static absl::StatusOr<std::shared_ptr<const IntegerNetwork>> Parse(absl::string_view bytes, absl::string_view name);

  static absl::StatusOr<std::shared_ptr<const IntegerNetwork>> Create(const QuantizedModel& model);

  ~IntegerNetwork();

  // Of an image, and of what is put out for it.
  int64_t channels() const;
  int64_t height() const;
  int64_t width() const;
  int64_t outputs() const;

  // Bytes of the memory for activations that each thread of a session needs.
  int64_t thread_bytes() const;

  // Free text that came with the model.
  const std::map<std::string, std::string>& metadata() const;

  std::vector<StepInfo> steps() const;

 private:
  friend class IntegerSession;
  struct Parts;
  explicit IntegerNetwork(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

class IntegerSession {
 public:
  // Several images are shared out among the threads; a single one is cut into rows. `threads` is at least 1.
  explicit IntegerSession(std::shared_ptr<const IntegerNetwork> network, int threads = 1);
  ~IntegerSession();

  IntegerSession(const IntegerSession&) = delete;
  IntegerSession& operator=(const IntegerSession&) = delete;

  // `images` are [count, channels, height, width], normalized as the network was trained; `outputs` [count, outputs],
  // what the last layer puts out. InvalidArgument if count is negative or an image has a number that is NaN or
  // infinite; then nothing is written.
  absl::Status Run(const float* images, int64_t count, float* outputs);

  // Seconds that each of the network's steps took, summed over the images of all runs from now on. Costs some speed.
  void StartProfile();
  std::vector<double> profile() const;

  // Bytes of the memory for activations.
  int64_t memory_bytes() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

// The k outputs that are highest, highest first, of equal ones the first: their indices.
std::vector<int> TopK(const float* outputs, int64_t count, int k);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_NETWORK_H_
