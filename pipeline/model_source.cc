#include "pipeline/model_source.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/user_path.h"
#include "model/name_mapping.h"
#include "model/resnet.h"
#include "model/torch_boundary.h"
#include "pipeline/paths.h"
#include "quant/fake_quant_model.h"
#include "torch_int8/torch_int8_model.h"

namespace lowbit {
namespace {

absl::StatusOr<Graph> Build(const ResnetCifar& network) {
  ResnetCifarOptions options;
  options.depth = network.depth();
  options.shortcut = network.shortcut() == OPTION_B ? Shortcut::kOptionB : Shortcut::kOptionA;
  options.num_classes = network.num_classes();
  return BuildResnetCifar(options);
}

absl::StatusOr<Graph> Build(const BasicBlockResnet& network) {
  BasicBlockResnetOptions options;
  options.blocks.assign(network.blocks().begin(), network.blocks().end());
  options.widths.assign(network.widths().begin(), network.widths().end());
  options.stem_padding = network.stem_padding();
  options.final_pool = network.final_pool();
  options.num_classes = network.num_classes();
  return BuildBasicBlockResnet(options);
}

absl::StatusOr<Graph> BuildGraph(const ModelConfig& config) {
  absl::StatusOr<Graph> graph = absl::InvalidArgumentError("no architecture");
  switch (config.architecture_case()) {
    case ModelConfig::kResnetCifar:
      graph = Build(config.resnet_cifar());
      break;
    case ModelConfig::kBasicBlockResnet:
      graph = Build(config.basic_block_resnet());
      break;
    case ModelConfig::ARCHITECTURE_NOT_SET:
      break;
  }
  if (graph.ok()) return graph;
  const auto* field = ModelConfig::descriptor()->FindFieldByNumber(config.architecture_case());
  return field == nullptr ? graph.status() : PrependField(graph.status(), field->name());
}

absl::StatusOr<LoadedModel> LoadPacked(const std::string& path) {
  auto quantized = LoadQuantizedModel(UserPath(path));
  if (!quantized.ok()) return PrependField(quantized.status(), "quantized_model");
  auto parameters = FakeQuantParameters(*quantized);
  if (!parameters.ok()) return PrependField(parameters.status(), "quantized_model");
  Model model{quantized->graph, *std::move(parameters)};
  return LoadedModel{std::move(model), std::make_shared<QuantizedModel>(*std::move(quantized)), nullptr, true};
}

absl::StatusOr<LoadedModel> LoadTorchInt8(const std::string& path) {
  auto loaded = TorchInt8Model::Load(UserPath(path));
  if (!loaded.ok()) return PrependField(loaded.status(), "torch_int8_model");
  Model model{loaded->graph(), {}};
  return LoadedModel{std::move(model), nullptr, std::make_shared<TorchInt8Model>(*std::move(loaded)), false};
}

// A file that brings its own architecture leaves nothing else to be said.
absl::Status CheckAlone(const ModelConfig& config, absl::string_view field, absl::string_view what) {
  if (config.architecture_case() != ModelConfig::ARCHITECTURE_NOT_SET) {
    return FieldError(field, absl::StrCat(what, " brings its own architecture; take out one of the two"));
  }
  if (!config.weights().empty())
    return FieldError("weights", absl::StrCat(what, " brings its own; take out one of the two"));
  return absl::OkStatus();
}

absl::Status CheckNothingIsRenamed(const ModelConfig& config) {
  if (config.rename().empty()) return absl::OkStatus();
  return FieldError("rename[0]", "is about the names in a file of weights, and there is none; take it out");
}

absl::StatusOr<ParameterMap> LoadWeights(const ModelConfig& config, const Graph& graph) {
  std::vector<NameMapping::Rule> rules;
  for (const Rename& rename : config.rename()) rules.push_back({rename.from(), rename.to()});
  auto mapping = NameMapping::Create(rules);
  if (!mapping.ok()) return PrependField(mapping.status(), "rename");
  auto parameters = LoadParameters(UserPath(config.weights()), graph, *mapping);
  if (parameters.ok()) return parameters;
  // What has a field is about a rule, all else about the file.
  return PrependField(parameters.status(), ErrorField(parameters.status()).has_value() ? "rename" : "weights");
}

absl::Status CheckCombination(const ModelConfig& config, bool has_architecture) {
  if (!config.quantized_model().empty() && !config.torch_int8_model().empty()) {
    return FieldError("torch_int8_model", "there is a quantized_model too; take out one of the two");
  }
  if (config.weights().empty()) LOWBIT_RETURN_IF_ERROR(CheckNothingIsRenamed(config));
  if (!config.quantized_model().empty()) return CheckAlone(config, "quantized_model", "a packed model");
  if (!config.torch_int8_model().empty()) return CheckAlone(config, "torch_int8_model", "LibTorch's 8-bit model");
  if (!has_architecture)
    return FieldError("weights", "say of which architecture: resnet_cifar {} or basic_block_resnet {}");
  return absl::OkStatus();
}

absl::StatusOr<NewestModel> Found(const std::string& path, absl::string_view field, absl::string_view what,
                                  const PipelineConfig& config) {
  if (!path.empty()) return NewestModel{path, std::string(field)};
  const std::string left =
      absl::StrCat("no run has left ", what, " in ", config.output_dir(), "/*/ that could be taken");
  if (config.model().newest() != ModelConfig::NONE) return PrependField(absl::NotFoundError(left), "model.newest");
  return PrependField(absl::NotFoundError(absl::StrCat("names no model, and ", left, " instead")), "model");
}

// Files of other networks, and of folded ones, lie beside those that are looked for.
absl::StatusOr<NewestModel> FindNewestWeights(const std::string& output_dir, const PipelineConfig& config) {
  if (config.model().architecture_case() == ModelConfig::ARCHITECTURE_NOT_SET) {
    return FieldError("model.newest", "say of which architecture: resnet_cifar {} or basic_block_resnet {}");
  }
  auto graph = BuildGraph(config.model());
  if (!graph.ok()) return PrependField(graph.status(), "model");
  ModelConfig candidate = config.model();
  for (const std::string& path : WeightsNewestFirst(output_dir)) {
    candidate.set_weights(path);
    if (LoadWeights(candidate, *graph).ok()) return NewestModel{path, "weights"};
  }
  return Found("", "weights", "a safetensors file with the parameters of this network", config);
}

}  // namespace

absl::StatusOr<NewestModel> FindNewest(const PipelineConfig& config) {
  const ModelConfig& model = config.model();
  const bool names_a_file =
      !model.weights().empty() || !model.quantized_model().empty() || !model.torch_int8_model().empty();
  if (model.newest() != ModelConfig::NONE && names_a_file) {
    return FieldError("model.newest", "stands in for a file, and there is one named; take out one of the two");
  }
  const std::string output_dir = UserPath(config.output_dir());
  switch (model.newest()) {
    case ModelConfig::NONE:
      if (names_a_file || model.architecture_case() != ModelConfig::ARCHITECTURE_NOT_SET) return NewestModel();
      [[fallthrough]];
    case ModelConfig::PACKED:
      return Found(NewestPackedModel(output_dir), "quantized_model", "a model*.safetensors", config);
    case ModelConfig::INT8:
      return Found(NewestTorchInt8Model(output_dir), "torch_int8_model", "an int8.pt", config);
    case ModelConfig::WEIGHTS:
      break;
  }
  return FindNewestWeights(output_dir, config);
}

absl::StatusOr<LoadedModel> LoadModel(const ModelConfig& config, uint64_t seed) {
  const bool has_architecture = config.architecture_case() != ModelConfig::ARCHITECTURE_NOT_SET;
  LOWBIT_RETURN_IF_ERROR(CheckCombination(config, has_architecture));
  if (!config.quantized_model().empty()) return LoadPacked(config.quantized_model());
  if (!config.torch_int8_model().empty()) return LoadTorchInt8(config.torch_int8_model());
  LOWBIT_ASSIGN_OR_RETURN(Graph graph, BuildGraph(config));
  if (config.weights().empty()) {
    LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, CatchTorch([&] { return InitParameters(graph, seed); }));
    return LoadedModel{Model{std::move(graph), std::move(parameters)}, nullptr, nullptr, false};
  }
  LOWBIT_ASSIGN_OR_RETURN(ParameterMap parameters, LoadWeights(config, graph));
  return LoadedModel{Model{std::move(graph), std::move(parameters)}, nullptr, nullptr, true};
}

}  // namespace lowbit
