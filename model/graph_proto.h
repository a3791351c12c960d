#ifndef LOWBIT_MODEL_GRAPH_PROTO_H_
#define LOWBIT_MODEL_GRAPH_PROTO_H_

#include "absl/status/statusor.h"
#include "artifact/network.pb.h"
#include "model/graph.h"

namespace lowbit {

// The form in which a graph is stored in files (artifact/network.proto). Inputs are stored as indices into `layers`.
NetworkProto GraphToProto(const Graph& graph);

// InvalidArgument for a layer without an operation and for everything that Graph::Create refuses.
absl::StatusOr<Graph> GraphFromProto(const NetworkProto& proto);

}  // namespace lowbit

#endif  // LOWBIT_MODEL_GRAPH_PROTO_H_
