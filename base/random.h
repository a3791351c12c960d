#ifndef LOWBIT_BASE_RANDOM_H_
#define LOWBIT_BASE_RANDOM_H_

#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace lowbit {

// One number out of several, well mixed: any change of a key, of their order or of their count changes it.
uint64_t MixKeys(std::initializer_list<uint64_t> keys);

// Random numbers that are the same on every machine. The standard fixes what std::mt19937_64 gives, but leaves the
// distributions to each library; so these are our own.
//
// A generator is made where it is needed, from the keys that say what it is for, rather than passed around:
//
//   Rng rng({seed, epoch, image_index});   // this image's augmentation in this epoch, in any thread, in any batch
class Rng {
 public:
  explicit Rng(std::initializer_list<uint64_t> keys) : engine_(MixKeys(keys)) {}

  uint64_t Next() { return engine_(); }

  // In [0, 1): a multiple of 2^-53.
  double Uniform01() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }

  // In [low, high], the upper end by rounding only.
  double Uniform(double low, double high) { return low + (high - low) * Uniform01(); }

  // In {0, ..., n - 1}, without bias; n at least 1.
  int64_t UniformInt(int64_t n);

  // True with this probability.
  bool Bernoulli(double probability) { return Uniform01() < probability; }

  // Mean 0, variance 1.
  double Normal();

  // Puts the elements in a random order.
  template <class T>
  void Shuffle(std::vector<T>& values) {
    for (int64_t i = static_cast<int64_t>(values.size()) - 1; i > 0; --i) {
      std::swap(values[i], values[UniformInt(i + 1)]);
    }
  }

  // 0, ..., n - 1 in a random order.
  std::vector<int64_t> Permutation(int64_t n) {
    std::vector<int64_t> values(n);
    std::iota(values.begin(), values.end(), int64_t{0});
    Shuffle(values);
    return values;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace lowbit

#endif  // LOWBIT_BASE_RANDOM_H_
