#ifndef LOWBIT_RUNTIME_ALIGNED_VECTOR_H_
#define LOWBIT_RUNTIME_ALIGNED_VECTOR_H_

#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

namespace lowbit {

// Memory that starts with a cache line, so that no vector of it lies across two.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr size_t kAlignment = 64;

  CacheLineAllocator() = default;
  template <typename U>
  CacheLineAllocator(const CacheLineAllocator<U>&) {}  // NOLINT: allocators convert

  T* allocate(size_t count) {
    void* const memory = std::aligned_alloc(kAlignment, (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment);
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { std::free(memory); }

  template <typename U>
  bool operator==(const CacheLineAllocator<U>&) const {
    return true;
  }
  template <typename U>
  bool operator!=(const CacheLineAllocator<U>&) const {
    return false;
  }
};

template <typename T>
using AlignedVector = std::vector<T, CacheLineAllocator<T>>;

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_ALIGNED_VECTOR_H_
