#include "torch_int8/torch_int8_model.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/quantize_per_channel.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/core/QEngine.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <limits>
#include <set>
#include <sstream>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/substitute.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "google/protobuf/text_format.h"
#include "model/graph_proto.h"
#include "model/torch_boundary.h"
#include "quant/quantized_model.h"

namespace lowbit {
namespace {

// Where a file of ours holds its graph, as a NetworkProto in text format.
constexpr char kNetworkFile[] = "lowbit.network";

// torch.quint8, as TorchScript numbers types.
constexpr int kQuint8Number = 13;

bool IsRelu(const Graph& graph, int i) { return std::holds_alternative<Relu>(graph.layer(i).op); }

// Whether LibTorch computes the layer with an output scale of its own.
bool HasOutputScale(const Op& op) { return HasWeight(op) || std::holds_alternative<Add>(op); }

// The ReLU that is computed together with layer i, or -1.
int FusedRelu(const Graph& graph, int i) {
  const std::vector<int>& readers = graph.consumers(i);
  return HasOutputScale(graph.layer(i).op) && readers.size() == 1 && IsRelu(graph, readers.front()) ? readers.front()
                                                                                                    : -1;
}

// Whether the CPU sums products of bytes in 32 bits at once. Without, every engine but qnnpack sums pairs of them in 16
// bits first, which saturate.
bool HasVnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni") != 0 || __builtin_cpu_supports("avxvnni") != 0;
#else
  return false;
#endif
}

std::string EngineName(at::QEngine engine) { return absl::AsciiStrToLower(c10::toString(engine)); }

absl::Status SetEngine(const std::string& name) {
  for (const at::QEngine engine : at::globalContext().supportedQEngines()) {
    if (engine != at::QEngine::NoQEngine && EngineName(engine) == name) {
      at::globalContext().setQEngine(engine);
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("this LibTorch has no quantized engine \"", name,
                                                 "\"; it has: ", absl::StrJoin(TorchInt8Engines(), ", ")));
}

// "torch" and "ops" as TorchScript's own files know them; LibTorch's resolver for C++ knows the first only.
struct OperatorResolver : torch::jit::Resolver {
  struct Namespaces : torch::jit::SugaredValue {
    std::string kind() const override { return "namespaces of operators"; }
    std::shared_ptr<SugaredValue> attr(const torch::jit::SourceRange& /*where*/, torch::jit::GraphFunction& /*caller*/,
                                       const std::string& name) override {
      return std::make_shared<torch::jit::BuiltinModule>(name);
    }
  };

  std::shared_ptr<torch::jit::SugaredValue> resolveValue(const std::string& name, torch::jit::GraphFunction& /*caller*/,
                                                         const torch::jit::SourceRange& /*where*/) override {
    if (name == "torch") return std::make_shared<torch::jit::BuiltinModule>("aten");
    if (name == "ops") return std::make_shared<Namespaces>();
    return nullptr;
  }
};

at::Tensor QuantizeWeight(const at::Tensor& weight) {
  std::vector<int64_t> all_but_first;
  for (int64_t d = 1; d < weight.dim(); ++d) all_but_first.push_back(d);
  constexpr double kHalfGrid = 127.5;
  const at::Tensor scales =
      weight.abs().amax(all_but_first).div(kHalfGrid).clamp_min(std::numeric_limits<float>::epsilon());
  const at::Tensor zero_points = at::zeros({weight.size(0)}, at::kLong);
  return at::quantize_per_channel(weight, scales.to(at::kDouble), zero_points, /*axis=*/0, at::kQInt8);
}

c10::IValue Call(const char* operation, torch::jit::Stack arguments) {
  c10::Dispatcher::singleton().findSchemaOrThrow(operation, "").callBoxed(arguments);
  return arguments.back();
}

c10::List<int64_t> ToList(const Pair& pair) { return c10::List<int64_t>({pair[0], pair[1]}); }

std::string ToText(const Pair& pair) { return absl::StrCat("[", pair[0], ", ", pair[1], "]"); }

// Writes a network as the forward function of a TorchScript module, and its weights as the module's attributes.
class ModuleWriter {
 public:
  ModuleWriter(const Model& model, const std::map<std::string, QuantParams>& activations)
      : model_(model), graph_(model.graph), activations_(activations), module_("LowbitInt8") {}

  absl::StatusOr<torch::jit::Module> Write() {
    std::string body;
    for (int i = 0; i < graph_.size(); ++i) {
      if (FusedRelu(graph_, i) >= 0) continue;  // written with the ReLU
      LOWBIT_ASSIGN_OR_RETURN(const std::string expression, Expression(i));
      absl::StrAppend(&body, "    ", Name(i), " = ", expression, "\n");
    }
    module_.define(absl::StrCat("def forward(self, images):\n", body, "    return torch.dequantize(",
                                Name(graph_.size() - 1), ")\n"),
                   std::make_shared<OperatorResolver>());
    module_.eval();
    return module_;
  }

 private:
  static std::string Name(int i) { return absl::StrCat("x", i); }

  // What layer i reads, which may be a fused operation's result.
  std::string InputName(int i, size_t k = 0) const { return Name(graph_.layer(i).inputs[k]); }

  absl::StatusOr<std::string> Expression(int i) {
    const Op& op = graph_.layer(i).op;
    if (IsRelu(graph_, i) && FusedRelu(graph_, graph_.layer(i).inputs.front()) == i) {
      return Scaled(graph_.layer(i).inputs.front(), "_relu", i);
    }
    if (HasOutputScale(op)) return Scaled(i, "", i);
    if (std::holds_alternative<Input>(op)) {
      LOWBIT_ASSIGN_OR_RETURN(const std::string scale, Scale(i));
      return absl::StrCat("torch.quantize_per_tensor(images, ", scale, ", ", kQuint8Number, ")");
    }
    if (std::holds_alternative<Relu>(op)) return absl::StrCat("torch.relu(", InputName(i), ")");
    if (std::holds_alternative<Flatten>(op)) return absl::StrCat("torch.flatten(", InputName(i), ", 1)");
    if (std::holds_alternative<GlobalAvgPool>(op)) {
      return absl::StrCat("torch.adaptive_avg_pool2d(", InputName(i), ", [1, 1])");
    }
    if (const auto* pool = std::get_if<AvgPool>(&op)) return Pool("torch.avg_pool2d", i, *pool);
    if (const auto* pool = std::get_if<MaxPool>(&op)) return Pool("torch.max_pool2d", i, *pool);
    if (const auto* subsample = std::get_if<Subsample>(&op)) {
      return absl::StrCat(InputName(i), "[:, :, ::", subsample->stride[0], ", ::", subsample->stride[1], "]");
    }
    if (const auto* pad = std::get_if<PadChannels>(&op)) {
      return absl::StrCat("torch.constant_pad_nd(", InputName(i), ", [0, 0, 0, 0, ", pad->before, ", ", pad->after,
                          "], 0)");
    }
    return CheckTorchInt8(graph_);
  }

  // Layer i, alone or with its ReLU, whose result has the scale of layer `result`.
  absl::StatusOr<std::string> Scaled(int i, absl::string_view relu, int result) {
    const Layer& layer = graph_.layer(i);
    LOWBIT_ASSIGN_OR_RETURN(const std::string scale, Scale(result));
    if (std::holds_alternative<Add>(layer.op)) {
      return absl::Substitute("ops.quantized.add$0($1, $2, $3)", relu, InputName(i, 0), InputName(i, 1), scale);
    }
    const char* const kind = std::holds_alternative<Conv2d>(layer.op) ? "conv2d" : "linear";
    return absl::Substitute("ops.quantized.$0$1($2, self.$3, $4)", kind, relu, InputName(i), AddWeight(layer), scale);
  }

  template <typename PoolOp>
  std::string Pool(absl::string_view function, int i, const PoolOp& op) const {
    return absl::Substitute("$0($1, $2, $3, $4)", function, InputName(i), ToText(op.kernel), ToText(op.stride),
                            ToText(op.padding));
  }

  // "<scale>, <zero point>" of what layer i puts out.
  absl::StatusOr<std::string> Scale(int i) const {
    const std::string& name = graph_.layer(i).name;
    const auto found = activations_.find(name);
    if (found == activations_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("layer \"", name, "\": its output has no scale"));
    }
    const QuantParams& params = found->second;
    LOWBIT_RETURN_IF_ERROR(params.Validate());
    if (params.bits != 8 || params.is_signed || params.per_channel()) {
      return absl::InvalidArgumentError(
          absl::StrCat("layer \"", name, "\": LibTorch wants 8 unsigned bits and one scale, got ", params.bits,
                       params.is_signed ? " signed" : " unsigned", " bits and ", params.scale.size(), " scales"));
    }
    if (!params.is_uniform()) {
      return absl::InvalidArgumentError(absl::StrCat("layer \"", name, "\": LibTorch wants a uniform grid, got one of ",
                                                     params.levels.size(), " levels"));
    }
    return absl::StrFormat("%.17e, %d", params.scale.front(), static_cast<int>(params.zero_point.front()));
  }

  // Packs the weight and the bias of a layer into an attribute of the module; its name.
  std::string AddWeight(const Layer& layer) {
    const at::Tensor weight = QuantizeWeight(model_.parameters.at(ParameterName(layer.name, "weight")));
    const auto found = model_.parameters.find(ParameterName(layer.name, "bias"));
    const c10::IValue bias = found == model_.parameters.end() ? c10::IValue() : c10::IValue(found->second);
    const auto* conv = std::get_if<Conv2d>(&layer.op);
    const c10::IValue packed =
        conv != nullptr ? Call("quantized::conv2d_prepack", {weight, bias, ToList(conv->stride), ToList(conv->padding),
                                                             ToList(conv->dilation), conv->groups})
                        : Call("quantized::linear_prepack", {weight, bias});
    std::string name = absl::StrCat(layer.name, "_weight");
    for (char& c : name) c = absl::ascii_isalnum(c) ? c : '_';
    if (absl::ascii_isdigit(name.front())) name.insert(0, "_");
    while (!attributes_.insert(name).second) name += '_';
    module_.register_attribute(name, packed.type(), packed);
    return name;
  }

  const Model& model_;
  const Graph& graph_;
  const std::map<std::string, QuantParams>& activations_;
  torch::jit::Module module_;
  std::set<std::string> attributes_;
};

absl::StatusOr<Graph> ParseGraph(const std::string& text) {
  NetworkProto proto;
  if (text.empty() || !google::protobuf::TextFormat::ParseFromString(text, &proto)) {
    return absl::InvalidArgumentError("holds no network of ours");
  }
  return GraphFromProto(proto);
}

}  // namespace

struct TorchInt8Model::Module {
  Graph graph;
  std::string engine;
  torch::jit::Module script;
};

absl::Status CheckTorchInt8(const Graph& graph) {
  for (const Layer& layer : graph.layers()) {
    if (!std::holds_alternative<BatchNorm>(layer.op)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("layer \"", layer.name, "\" is a batch norm that is not folded, which LibTorch's 8-bit operators ",
                     "do not include"));
  }
  return absl::OkStatus();
}

std::vector<int> TorchInt8Tensors(const Graph& graph) {
  std::vector<int> tensors;
  for (int i = 0; i < graph.size(); ++i) {
    if (std::holds_alternative<Input>(graph.layer(i).op)) tensors.push_back(i);
    if (HasOutputScale(graph.layer(i).op)) tensors.push_back(FusedRelu(graph, i) >= 0 ? FusedRelu(graph, i) : i);
  }
  std::sort(tensors.begin(), tensors.end());
  return tensors;
}

std::vector<std::string> TorchInt8Engines() {
  std::vector<at::QEngine> order = {at::QEngine::X86, at::QEngine::ONEDNN, at::QEngine::FBGEMM};
  order.insert(HasVnni() ? order.end() : order.begin(), at::QEngine::QNNPACK);
  std::vector<std::string> engines;
  for (const at::QEngine wanted : order) {
    const auto& supported = at::globalContext().supportedQEngines();
    if (std::find(supported.begin(), supported.end(), wanted) != supported.end()) {
      engines.push_back(EngineName(wanted));
    }
  }
  return engines;
}

absl::StatusOr<TorchInt8Model> TorchInt8Model::Create(const Model& model,
                                                      const std::map<std::string, QuantParams>& activations,
                                                      const std::string& engine) {
  LOWBIT_RETURN_IF_ERROR(CheckParameters(model.graph, model.parameters));
  LOWBIT_RETURN_IF_ERROR(SetEngine(engine));
  return CatchTorch([&]() -> absl::StatusOr<TorchInt8Model> {
    c10::NoGradGuard no_grad;
    LOWBIT_ASSIGN_OR_RETURN(torch::jit::Module script, ModuleWriter(model, activations).Write());
    return TorchInt8Model(std::make_shared<Module>(Module{model.graph, engine, std::move(script)}));
  });
}

absl::StatusOr<TorchInt8Model> TorchInt8Model::Load(const std::string& path) {
  LOWBIT_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  const std::vector<std::string> engines = TorchInt8Engines();
  if (engines.empty()) return absl::InvalidArgumentError("this LibTorch has no quantized engine");
  if (!absl::StartsWith(bytes, "PK")) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no TorchScript file, which would be a zip archive"));
  }
  if (!absl::StrContains(bytes, "constants.pkl")) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a zip archive, but no TorchScript file (a PyTorch checkpoint goes in model.weights)"));
  }
  // Weights are laid out for the engine while they are read.
  LOWBIT_RETURN_IF_ERROR(SetEngine(engines.front()));
  torch::jit::ExtraFilesMap files{{kNetworkFile, ""}};
  auto script = CatchTorch([&] {
    std::istringstream stream(std::move(bytes));
    return torch::jit::load(stream, /*device=*/c10::nullopt, files);
  });
  if (!script.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": a broken TorchScript file: ", script.status().message()));
  }
  auto graph = ParseGraph(files[kNetworkFile]);
  if (!graph.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not written by a torch_int8 step: ", graph.status().message()));
  }
  return TorchInt8Model(std::make_shared<Module>(Module{*std::move(graph), engines.front(), *std::move(script)}));
}

absl::Status TorchInt8Model::Save(const std::string& path) const {
  std::string network;
  google::protobuf::TextFormat::PrintToString(GraphToProto(module_->graph), &network);
  std::ostringstream stream;
  LOWBIT_RETURN_IF_ERROR(CatchTorch([&] { module_->script.save(stream, {{kNetworkFile, network}}); }));
  return WriteFileAtomic(path, stream.str());
}

absl::StatusOr<at::Tensor> TorchInt8Model::Forward(const at::Tensor& images) const {
  return CatchTorch([&] {
    c10::NoGradGuard no_grad;
    torch::jit::Module script = module_->script;  // a handle
    return script.forward({images}).toTensor();
  });
}

const Graph& TorchInt8Model::graph() const { return module_->graph; }

const std::string& TorchInt8Model::engine() const { return module_->engine; }

int64_t TorchInt8WeightBytes(const Graph& graph) {
  int64_t channels = 0;
  for (const Layer& layer : graph.layers()) {
    if (HasWeight(layer.op)) channels += ParameterShapes(layer.op).at("weight").front();
  }
  return FloatWeightBytes(graph) / 4 + 4 * channels;
}

}  // namespace lowbit
