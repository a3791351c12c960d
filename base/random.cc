#include "base/random.h"

#include <cmath>

#include "base/check.h"

namespace lowbit {
namespace {

// One step of the generator splitmix64 (Steele, Lea, Flood, 2014): a bijection in which every bit of the argument
// reaches every bit of the result.
uint64_t SplitMix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

uint64_t MixKeys(std::initializer_list<uint64_t> keys) {
  uint64_t state = keys.size();
  for (const uint64_t key : keys) state = SplitMix64(state) ^ key;
  return SplitMix64(state);
}

int64_t Rng::UniformInt(int64_t n) {
  LOWBIT_CHECK(n > 0, "UniformInt(", n, ")");
  const uint64_t size = static_cast<uint64_t>(n);
  // Without the first 2^64 mod n numbers, every remainder is equally frequent among the others.
  const uint64_t surplus = (0 - size) % size;
  uint64_t number = Next();
  while (number < surplus) number = Next();
  return static_cast<int64_t>(number % size);
}

// Ratio of uniforms (Kinderman and Monahan, 1977) with Leva's bounds (ACM TOMS 18, 1992): the point (u, v) is uniform
// in a rectangle, and accepted inside of v^2 = -4 u^2 ln(u); then v / u is normal. Unlike Box and Muller's method, the
// result is one IEEE division. The logarithm, in which mathematical libraries differ by a last bit, only decides
// on the one point in eighty that lies between the two bounds.
double Rng::Normal() {
  while (true) {
    const double u = 1.0 - Uniform01();  // in (0, 1]
    const double v = 1.7156 * (Uniform01() - 0.5);
    const double x = u - 0.449871;
    const double y = std::fabs(v) + 0.386595;
    const double q = x * x + y * (0.19600 * y - 0.25472 * x);
    if (q < 0.27597) return v / u;
    if (q > 0.27846) continue;
    if (v * v <= -4.0 * u * u * std::log(u)) return v / u;
  }
}

}  // namespace lowbit
