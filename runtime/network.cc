#include "runtime/network.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "quant/quantized_model.h"
#include "runtime/aligned_vector.h"
#include "runtime/cpu.h"
#include "runtime/kernels/choose_kernel.h"
#include "runtime/plain_ops.h"
#include "runtime/plan.h"
#include "runtime/tensor_layout.h"
#include "runtime/thread_pool.h"

namespace lowbit {
namespace {

// For the activations of an image. More is a mistake, or an attack.
constexpr int64_t kMaxThreadBytes = int64_t{1} << 32;

// Zeros.
using Memory = AlignedVector<uint8_t>;
Memory Allocate(int64_t bytes) { return Memory(static_cast<size_t>(bytes), 0); }

}  // namespace

struct IntegerNetwork::Parts {
  Plan plan;
  MemoryPlan memory;
  std::vector<std::unique_ptr<ConvKernel>> kernels;  // of each step; nullptr where it is no ConvOp
  int64_t scratch_bytes = 0;                         // of a thread
  std::map<std::string, std::string> metadata;
};

namespace {

ConvProblem MakeProblem(const Plan& plan, const MemoryPlan& memory, const ConvOp& op) {
  const auto tensor = [&](int i) { return &plan.tensors[static_cast<size_t>(i)]; };
  const auto layout = [&](int i) { return memory.layouts[static_cast<size_t>(i)]; };
  ConvProblem problem;
  problem.op = &op;
  problem.input = tensor(op.input);
  problem.output = tensor(op.output);
  problem.input_layout = layout(op.input);
  problem.output_layout = layout(op.output);
  if (op.epilogue.shortcut.tensor >= 0) {
    problem.shortcut_layout = layout(op.epilogue.shortcut.tensor);
    problem.shortcut_channels = tensor(op.epilogue.shortcut.tensor)->channels;
    problem.shortcut_max_code = tensor(op.epilogue.shortcut.tensor)->max_code;
  }
  return problem;
}

}  // namespace

IntegerNetwork::IntegerNetwork(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
IntegerNetwork::~IntegerNetwork() = default;

absl::StatusOr<std::shared_ptr<const IntegerNetwork>> IntegerNetwork::Load(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  return Parse(file->bytes(), path);
}

absl::StatusOr<std::shared_ptr<const IntegerNetwork>> IntegerNetwork::Parse(absl::string_view bytes,
                                                                            absl::string_view name) {
  LOWBIT_ASSIGN_OR_RETURN(const QuantizedModel model, ParseQuantizedModel(bytes, name));
  auto network = Create(model);
  if (network.ok()) return network;
  return absl::Status(network.status().code(), absl::StrCat(name, ": ", network.status().message()));
}

absl::StatusOr<std::shared_ptr<const IntegerNetwork>> IntegerNetwork::Create(const QuantizedModel& model) {
  LOWBIT_ASSIGN_OR_RETURN(const Cpu cpu, ChooseCpu());
  auto parts = std::make_unique<Parts>();
  LOWBIT_ASSIGN_OR_RETURN(parts->plan, MakePlan(model));
  LOWBIT_RETURN_IF_ERROR(CheckBorders(parts->plan));
  parts->memory = PlanMemory(parts->plan);
  parts->metadata = model.metadata;
  for (const PlanStep& step : parts->plan.steps) {
    const auto* const conv = std::get_if<ConvOp>(&step.op);
    parts->kernels.push_back(conv == nullptr ? nullptr
                                             : BestConvKernel(MakeProblem(parts->plan, parts->memory, *conv), cpu));
    if (conv != nullptr) parts->scratch_bytes = std::max(parts->scratch_bytes, parts->kernels.back()->scratch_bytes());
  }
  const std::shared_ptr<const IntegerNetwork> network(new IntegerNetwork(std::move(parts)));
  if (network->thread_bytes() > kMaxThreadBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a thread would need ", network->thread_bytes(), " bytes, the limit is ", kMaxThreadBytes));
  }
  return network;
}

int64_t IntegerNetwork::channels() const { return parts_->plan.input_tensor().channels; }
int64_t IntegerNetwork::height() const { return parts_->plan.input_tensor().height; }
int64_t IntegerNetwork::width() const { return parts_->plan.input_tensor().width; }
int64_t IntegerNetwork::outputs() const { return parts_->plan.output_tensor().size(); }
int64_t IntegerNetwork::thread_bytes() const {
  const std::vector<int64_t>& bytes = parts_->memory.slot_bytes;
  return std::accumulate(bytes.begin(), bytes.end(), parts_->scratch_bytes);
}
const std::map<std::string, std::string>& IntegerNetwork::metadata() const { return parts_->metadata; }

std::vector<StepInfo> IntegerNetwork::steps() const {
  std::vector<StepInfo> infos;
  for (size_t i = 0; i < parts_->plan.steps.size(); ++i) {
    const PlanStep& step = parts_->plan.steps[i];
    StepInfo info;
    info.layers = step.layers;
    info.macs = step.macs;
    info.kernel = parts_->kernels[i] != nullptr                  ? parts_->kernels[i]->name()
                  : std::holds_alternative<FloatConvOp>(step.op) ? "float"
                                                                 : "plain";
    infos.push_back(std::move(info));
  }
  return infos;
}

namespace {

bool AllFinite(const float* values, int64_t count) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t not_finite = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    not_finite |= (bits & kExponent) == kExponent ? 1U : 0U;
  }
  return not_finite == 0;
}

// The memory for one image on its way through the network.
struct Workspace {
  std::vector<Memory> slots;

  explicit Workspace(const MemoryPlan& plan) {
    for (const int64_t bytes : plan.slot_bytes) slots.push_back(Allocate(bytes));
  }
};

}  // namespace

struct IntegerSession::State {
  State(std::shared_ptr<const IntegerNetwork> with, int threads)
      : network(std::move(with)), parts(*network->parts_), pool(threads), barrier(threads) {
    for (int i = 0; i < threads; ++i) {
      workspaces.emplace_back(parts.memory);
      scratch.push_back(Allocate(parts.scratch_bytes));
      seconds.emplace_back(parts.plan.steps.size(), 0.0);
    }
  }

  TensorRef Ref(Workspace& workspace, int tensor) const {
    const size_t t = static_cast<size_t>(tensor);
    return {&parts.plan.tensors[t], parts.memory.layouts[t],
            workspace.slots[static_cast<size_t>(parts.memory.slots[t])].data()};
  }

  void ReadImage(Workspace& workspace, const float* image) const;
  void WriteOutputs(Workspace& workspace, float* outputs) const;
  // Of a convolution only the part-th of `of` equal parts of its rows; all else is done for part 0.
  void RunStep(Workspace& workspace, size_t step, int thread, int part, int of);
  void TimeStep(Workspace& workspace, size_t step, int thread, int part, int of);
  // All steps; where there are several parts, their threads wait for each other after each.
  void RunSteps(Workspace& workspace, int thread, int part, int of);
  void RunOne(const float* image, float* outputs);
  void RunMany(const float* images, int64_t count, float* outputs);

  const std::shared_ptr<const IntegerNetwork> network;
  const IntegerNetwork::Parts& parts;
  ThreadPool pool;
  SpinBarrier barrier;
  std::vector<Workspace> workspaces;         // of each thread
  std::vector<Memory> scratch;               // likewise
  std::vector<std::vector<double>> seconds;  // likewise, of each step
  bool profiles = false;
};

// [C, H, W] -> [H, W, C].
void IntegerSession::State::ReadImage(Workspace& workspace, const float* image) const {
  const TensorRef to = Ref(workspace, 0);
  const PlanTensor& tensor = *to.tensor;
  for (int64_t y = 0; y < tensor.height; ++y) {
    float* const row = to.floats() + to.At(y, 0);
    for (int64_t c = 0; c < tensor.channels; ++c) {
      const float* const from = image + (c * tensor.height + y) * tensor.width;
      for (int64_t x = 0; x < tensor.width; ++x) row[x * tensor.channels + c] = from[x];
    }
  }
}

// In the order [C, H, W].
void IntegerSession::State::WriteOutputs(Workspace& workspace, float* outputs) const {
  const TensorRef from = Ref(workspace, parts.plan.output);
  const PlanTensor& tensor = *from.tensor;
  for (int64_t c = 0; c < tensor.channels; ++c) {
    for (int64_t y = 0; y < tensor.height; ++y) {
      for (int64_t x = 0; x < tensor.width; ++x) *outputs++ = from.Read(y, x, c);
    }
  }
}

void IntegerSession::State::RunStep(Workspace& workspace, size_t step, int thread, int part, int of) {
  const PlanOp& op = parts.plan.steps[step].op;
  if (const auto* conv = std::get_if<ConvOp>(&op)) {
    ConvBuffers buffers;
    buffers.input = Ref(workspace, conv->input).memory;
    buffers.output = Ref(workspace, conv->output).memory;
    if (conv->epilogue.shortcut.tensor >= 0) buffers.shortcut = Ref(workspace, conv->epilogue.shortcut.tensor).memory;
    buffers.scratch = scratch[static_cast<size_t>(thread)].data();
    const int64_t rows = parts.plan.tensors[static_cast<size_t>(conv->output)].height;
    parts.kernels[step]->Run(buffers, rows * part / of, rows * (part + 1) / of);
    return;
  }
  if (part != 0) return;
  if (const auto* mean = std::get_if<GlobalMeanOp>(&op)) {
    RunGlobalMean(*mean, Ref(workspace, mean->input), Ref(workspace, mean->output));
  } else if (const auto* floats = std::get_if<FloatConvOp>(&op)) {
    RunFloatConv(*floats, Ref(workspace, floats->input), Ref(workspace, floats->output));
  } else {
    const auto& plain = std::get<PlainOp>(op);
    TensorRef inputs[2];
    for (size_t i = 0; i < plain.inputs.size(); ++i) inputs[i] = Ref(workspace, plain.inputs[i]);
    RunPlain(plain, inputs, Ref(workspace, plain.output));
  }
}

void IntegerSession::State::TimeStep(Workspace& workspace, size_t step, int thread, int part, int of) {
  if (!profiles) return RunStep(workspace, step, thread, part, of);
  const auto start = std::chrono::steady_clock::now();
  RunStep(workspace, step, thread, part, of);
  seconds[static_cast<size_t>(thread)][step] +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void IntegerSession::State::RunSteps(Workspace& workspace, int thread, int part, int of) {
  for (size_t step = 0; step < parts.plan.steps.size(); ++step) {
    TimeStep(workspace, step, thread, part, of);
    if (of > 1) barrier.Wait();
  }
}

void IntegerSession::State::RunOne(const float* image, float* outputs) {
  Workspace& workspace = workspaces.front();
  ReadImage(workspace, image);
  pool.Run([&](int thread) { RunSteps(workspace, thread, thread, pool.size()); });
  WriteOutputs(workspace, outputs);
}

void IntegerSession::State::RunMany(const float* images, int64_t count, float* outputs) {
  const int64_t image_size = parts.plan.input_tensor().size();
  const int64_t output_size = parts.plan.output_tensor().size();
  std::atomic<int64_t> next{0};
  const auto work = [&](int thread) {
    Workspace& workspace = workspaces[static_cast<size_t>(thread)];
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      ReadImage(workspace, images + i * image_size);
      RunSteps(workspace, thread, 0, 1);
      WriteOutputs(workspace, outputs + i * output_size);
    }
  };
  pool.Run(std::ref(work));  // (a copy would take memory)
}

IntegerSession::IntegerSession(std::shared_ptr<const IntegerNetwork> network, int threads)
    : state_(std::make_unique<State>(std::move(network), threads)) {}
IntegerSession::~IntegerSession() = default;

absl::Status IntegerSession::Run(const float* images, int64_t count, float* outputs) {
  if (count < 0) return absl::InvalidArgumentError(absl::StrCat("count: expected at least 0, got ", count));
  const int64_t size = state_->parts.plan.input_tensor().size();
  for (int64_t i = 0; i < count; ++i) {
    if (!AllFinite(images + i * size, size)) {
      return absl::InvalidArgumentError(absl::StrCat("image ", i, " has a number that is NaN or infinite"));
    }
  }
  if (count == 1) {
    state_->RunOne(images, outputs);
  } else {
    state_->RunMany(images, count, outputs);
  }
  return absl::OkStatus();
}

void IntegerSession::StartProfile() { state_->profiles = true; }

std::vector<double> IntegerSession::profile() const {
  std::vector<double> sums(state_->parts.plan.steps.size(), 0);
  for (const std::vector<double>& of_thread : state_->seconds) {
    for (size_t step = 0; step < sums.size(); ++step) sums[step] += of_thread[step];
  }
  return sums;
}

int64_t IntegerSession::memory_bytes() const {
  return state_->network->thread_bytes() * static_cast<int64_t>(state_->workspaces.size());
}

std::vector<int> TopK(const float* outputs, int64_t count, int k) {
  std::vector<int> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  const auto end = order.begin() + std::min<int64_t>(k, count);
  // An order even where a broken network puts out NaN, which comes last.
  const auto value = [&](int i) {
    return std::isnan(outputs[i]) ? -std::numeric_limits<float>::infinity() : outputs[i];
  };
  std::partial_sort(order.begin(), end, order.end(),
                    [&](int a, int b) { return value(a) > value(b) || (value(a) == value(b) && a < b); });
  order.erase(end, order.end());
  return order;
}

}  // namespace lowbit
