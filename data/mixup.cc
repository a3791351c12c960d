#include "data/mixup.h"

#include <cstddef>

#include "base/random.h"

namespace lowbit {

void MixImages(double part, uint64_t seed, uint64_t epoch, uint64_t batch, int64_t image_size,
               std::vector<float>* images) {
  if (part == 0) return;
  // The fourth key keeps this stream apart from those of augmentation, (seed, epoch, index), and of the order.
  constexpr uint64_t kMixupStream = 2;
  Rng rng({seed, epoch, batch, kMixupStream});
  const std::vector<float> before = *images;
  const int64_t size = static_cast<int64_t>(before.size()) / image_size;
  const std::vector<int64_t> partner = rng.Permutation(size);
  for (int64_t i = 0; i < size; ++i) {
    // Both are drawn, whether they are used or not: another part leaves the weights as they were.
    const bool mixed = rng.Bernoulli(part);
    const float weight = static_cast<float>(rng.Uniform01());
    if (!mixed) continue;
    const float* const own = before.data() + i * image_size;
    const float* const other = before.data() + partner[static_cast<size_t>(i)] * image_size;
    float* const out = images->data() + i * image_size;
    for (int64_t k = 0; k < image_size; ++k) out[k] = other[k] + weight * (own[k] - other[k]);
  }
}

}  // namespace lowbit
