#ifndef LOWBIT_MODEL_MODEL_TESTING_H_
#define LOWBIT_MODEL_MODEL_TESTING_H_

// What tests of small networks do again and again.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "base/random.h"
#include "gtest/gtest.h"
#include "model/graph.h"

namespace lowbit {

// Normal numbers, float32.
inline at::Tensor Random(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor x = at::empty(shape, at::kFloat);
  Rng rng({seed});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.Normal());
  return x;
}

// The layers must be a graph.
inline Graph Make(std::vector<Layer> layers) {
  auto graph = Graph::Create(std::move(layers));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

}  // namespace lowbit

#endif  // LOWBIT_MODEL_MODEL_TESTING_H_
