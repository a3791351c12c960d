#include "model/graph_proto.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lowbit {
namespace {

void Set(const Pair& pair, PairProto* proto) {
  proto->set_height(pair[0]);
  proto->set_width(pair[1]);
}

Pair Get(const PairProto& proto) { return {proto.height(), proto.width()}; }

template <typename PoolOp, typename PoolProto>
void SetPool(const PoolOp& op, PoolProto* proto) {
  Set(op.kernel, proto->mutable_kernel());
  Set(op.stride, proto->mutable_stride());
  Set(op.padding, proto->mutable_padding());
}

template <typename PoolOp, typename PoolProto>
PoolOp GetPool(const PoolProto& proto) {
  return {Get(proto.kernel()), Get(proto.stride()), Get(proto.padding())};
}

struct SetOp {
  LayerProto& layer;

  void operator()(const Input& op) const {
    InputProto* proto = layer.mutable_input();
    proto->set_channels(op.channels);
    proto->set_height(op.height);
    proto->set_width(op.width);
  }
  void operator()(const Conv2d& op) const {
    Conv2dProto* proto = layer.mutable_conv2d();
    proto->set_in_channels(op.in_channels);
    proto->set_out_channels(op.out_channels);
    Set(op.kernel, proto->mutable_kernel());
    Set(op.stride, proto->mutable_stride());
    Set(op.padding, proto->mutable_padding());
    Set(op.dilation, proto->mutable_dilation());
    proto->set_groups(op.groups);
    proto->set_bias(op.bias);
  }
  void operator()(const Linear& op) const {
    LinearProto* proto = layer.mutable_linear();
    proto->set_in_features(op.in_features);
    proto->set_out_features(op.out_features);
    proto->set_bias(op.bias);
  }
  void operator()(const BatchNorm& op) const {
    BatchNormProto* proto = layer.mutable_batch_norm();
    proto->set_channels(op.channels);
    proto->set_eps(op.eps);
    proto->set_momentum(op.momentum);
  }
  void operator()(const Relu&) const { layer.mutable_relu(); }
  void operator()(const Add&) const { layer.mutable_add(); }
  void operator()(const GlobalAvgPool&) const { layer.mutable_global_avg_pool(); }
  void operator()(const Flatten&) const { layer.mutable_flatten(); }
  void operator()(const AvgPool& op) const { SetPool(op, layer.mutable_avg_pool()); }
  void operator()(const MaxPool& op) const { SetPool(op, layer.mutable_max_pool()); }
  void operator()(const Subsample& op) const { Set(op.stride, layer.mutable_subsample()->mutable_stride()); }
  void operator()(const PadChannels& op) const {
    layer.mutable_pad_channels()->set_before(op.before);
    layer.mutable_pad_channels()->set_after(op.after);
  }
};

absl::StatusOr<Op> GetOp(const LayerProto& layer) {
  switch (layer.op_case()) {
    case LayerProto::kInput:
      return Input{layer.input().channels(), layer.input().height(), layer.input().width()};
    case LayerProto::kConv2D: {
      const Conv2dProto& proto = layer.conv2d();
      return Conv2d{proto.in_channels(),  proto.out_channels(),  Get(proto.kernel()), Get(proto.stride()),
                    Get(proto.padding()), Get(proto.dilation()), proto.groups(),      proto.bias()};
    }
    case LayerProto::kLinear:
      return Linear{layer.linear().in_features(), layer.linear().out_features(), layer.linear().bias()};
    case LayerProto::kBatchNorm:
      return BatchNorm{layer.batch_norm().channels(), layer.batch_norm().eps(), layer.batch_norm().momentum()};
    case LayerProto::kRelu:
      return Relu{};
    case LayerProto::kAdd:
      return Add{};
    case LayerProto::kGlobalAvgPool:
      return GlobalAvgPool{};
    case LayerProto::kFlatten:
      return Flatten{};
    case LayerProto::kAvgPool:
      return GetPool<AvgPool>(layer.avg_pool());
    case LayerProto::kMaxPool:
      return GetPool<MaxPool>(layer.max_pool());
    case LayerProto::kSubsample:
      return Subsample{Get(layer.subsample().stride())};
    case LayerProto::kPadChannels:
      return PadChannels{layer.pad_channels().before(), layer.pad_channels().after()};
    case LayerProto::OP_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("layer \"", layer.name(), "\" has no operation, or one that is not known here"));
}

}  // namespace

NetworkProto GraphToProto(const Graph& graph) {
  NetworkProto proto;
  for (const Layer& layer : graph.layers()) {
    LayerProto* out = proto.add_layers();
    out->set_name(layer.name);
    for (int input : layer.inputs) out->add_inputs(input);
    std::visit(SetOp{*out}, layer.op);
  }
  return proto;
}

absl::StatusOr<Graph> GraphFromProto(const NetworkProto& proto) {
  std::vector<Layer> layers;
  for (const LayerProto& in : proto.layers()) {
    absl::StatusOr<Op> op = GetOp(in);
    if (!op.ok()) return op.status();
    layers.push_back({in.name(), *std::move(op), {in.inputs().begin(), in.inputs().end()}});
  }
  return Graph::Create(std::move(layers));
}

}  // namespace lowbit
