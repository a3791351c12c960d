#ifndef LOWBIT_DATA_MIXUP_H_
#define LOWBIT_DATA_MIXUP_H_

#include <cstdint>
#include <vector>

namespace lowbit {

// Mixup (Zhang et al. 2018, arXiv 1710.09412) of a batch of images, each `image_size` numbers in a row: with
// probability `part`, in [0, 1], image i becomes
//   weight * image i + (1 - weight) * image partner(i)
// where the partners are a permutation of the batch, and the weight is uniform in [0, 1) and the image's own. What
// chance decides depends on (seed, epoch, batch) and the number of images only.
void MixImages(double part, uint64_t seed, uint64_t epoch, uint64_t batch, int64_t image_size,
               std::vector<float>* images);

}  // namespace lowbit

#endif  // LOWBIT_DATA_MIXUP_H_
