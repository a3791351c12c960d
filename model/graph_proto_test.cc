#include "model/graph_proto.h"

#include <string>
#include <utility>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

// Every operation, no two numbers of one operation alike.
constexpr char kEveryOp[] = R"pb(
  layers {
    name: "input"
    input { channels: 4 height: 18 width: 20 }
  }
  layers {
    name: "conv"
    inputs: 0
    conv2d {
      in_channels: 4
      out_channels: 6
      kernel { height: 3 width: 5 }
      stride { height: 2 width: 1 }
      padding { height: 7 width: 8 }
      dilation { height: 4 width: 3 }
      groups: 2
      bias: true
    }
  }
  layers {
    name: "bn"
    inputs: 1
    batch_norm { channels: 6 eps: 0.0625 momentum: 0.75 }
  }
  layers {
    name: "relu"
    inputs: 2
    relu {}
  }
  layers {
    name: "add"
    inputs: 3
    inputs: 2
    add {}
  }
  layers {
    name: "max"
    inputs: 4
    max_pool {
      kernel { height: 3 width: 6 }
      stride { height: 2 width: 1 }
      padding { height: 1 width: 3 }
    }
  }
  layers {
    name: "avg"
    inputs: 5
    avg_pool {
      kernel { height: 4 width: 2 }
      stride { height: 1 width: 2 }
      padding { height: 2 width: 0 }
    }
  }
  layers {
    name: "sub"
    inputs: 6
    subsample { stride { height: 3 width: 2 } }
  }
  layers {
    name: "pad"
    inputs: 7
    pad_channels { before: 1 after: 2 }
  }
  layers {
    name: "pool"
    inputs: 8
    global_avg_pool {}
  }
  layers {
    name: "flatten"
    inputs: 9
    flatten {}
  }
  layers {
    name: "fc"
    inputs: 10
    linear { in_features: 9 out_features: 5 bias: true }
  }
)pb";

NetworkProto Parse(const std::string& text) {
  NetworkProto proto;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &proto)) << text;
  return proto;
}

absl::StatusOr<Graph> EveryOp() {
  return Graph::Create({{"input", Input{4, 18, 20}, {}},
                        {"conv", Conv2d{4, 6, {3, 5}, {2, 1}, {7, 8}, {4, 3}, 2, true}, {0}},
                        {"bn", BatchNorm{6, 0.0625, 0.75}, {1}},
                        {"relu", Relu{}, {2}},
                        {"add", Add{}, {3, 2}},
                        {"max", MaxPool{{3, 6}, {2, 1}, {1, 3}}, {4}},
                        {"avg", AvgPool{{4, 2}, {1, 2}, {2, 0}}, {5}},
                        {"sub", Subsample{{3, 2}}, {6}},
                        {"pad", PadChannels{1, 2}, {7}},
                        {"pool", GlobalAvgPool{}, {8}},
                        {"flatten", Flatten{}, {9}},
                        {"fc", Linear{9, 5, true}, {10}}});
}

std::string Refusal(const std::string& text) {
  const auto graph = GraphFromProto(Parse(text));
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(graph.status().message());
}

TEST(GraphProtoTest, EveryOperationIsWrittenAsDocumented) {
  const auto graph = EveryOp();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(GraphToProto(*graph).DebugString(), Parse(kEveryOp).DebugString());
}

TEST(GraphProtoTest, EveryOperationIsReadBack) {
  const NetworkProto proto = Parse(kEveryOp);
  const auto graph = GraphFromProto(proto);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(GraphToProto(*graph).DebugString(), proto.DebugString());
  EXPECT_EQ(graph->output_shape(graph->size() - 1), (Shape{5}));
}

TEST(GraphProtoTest, FalseFlagsStayFalse) {
  const auto graph = Graph::Create({{"input", Input{2, 1, 1}, {}},
                                    {"conv", Conv2d{2, 3}, {0}},
                                    {"flatten", Flatten{}, {1}},
                                    {"fc", Linear{3, 1, false}, {2}}});
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto read = GraphFromProto(GraphToProto(*graph));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_FALSE(std::get<Conv2d>(read->layer(1).op).bias);
  EXPECT_FALSE(std::get<Linear>(read->layer(3).op).bias);
}

TEST(GraphProtoTest, LayersWithoutAnOperationAreRefused) {
  EXPECT_EQ(Refusal(R"pb(layers {
                           name: "input"
                           input { channels: 1 height: 1 width: 1 }
                         }
                         layers { name: "new" inputs: 0 })pb"),
            "layer \"new\" has no operation, or one that is not known here");
}

TEST(GraphProtoTest, WhatGraphRefusesIsRefused) {
  const std::string input = R"pb(layers {
                                   name: "input"
                                   input { channels: 1 height: 1 width: 1 }
                                 })pb";
  EXPECT_EQ(Refusal(""), "a graph needs at least one layer");
  // A cycle cannot be written without a reader before what it reads.
  EXPECT_EQ(Refusal(input + R"pb(layers {
                                   name: "a"
                                   inputs: 2
                                   relu {}
                                 }
                                 layers {
                                   name: "b"
                                   inputs: 1
                                   relu {}
                                 })pb"),
            "layer \"a\" (Relu): input index 2 is not that of an earlier layer; it is layer 1");
  EXPECT_EQ(Refusal(input + R"pb(layers {
                                   name: "a"
                                   inputs: -1
                                   relu {}
                                 })pb"),
            "layer \"a\" (Relu): input index -1 is not that of an earlier layer; it is layer 1");
  // Numbers that the file leaves out are 0, not the structs' defaults.
  EXPECT_EQ(Refusal(input + R"pb(layers {
                                   name: "a"
                                   inputs: 0
                                   conv2d { in_channels: 1 out_channels: 1 }
                                 })pb"),
            "layer \"a\" (Conv2d): kernel must be at least 1x1, got 0x0");
}

}  // namespace
}  // namespace lowbit
