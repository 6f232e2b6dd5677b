// Memory to work in: it begins at a cache line (a load of a whole one then never takes two), grows as needed, and is
// neither filled nor copied, since whoever asks for it writes before reading.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>

namespace steelyard {

template <class T>
class ScratchBuffer {
  static_assert(std::is_trivially_default_constructible_v<T> && std::is_trivially_destructible_v<T>);

 public:
  /// Room for n elements; what was there is lost where that is more than ever before.
  T* reserve(size_t n) {
    if (n > size_) {
      size_ = 0;
      memory_.reset();  // first, so that both are never there at once
      memory_.reset(static_cast<T*>(::operator new(n * sizeof(T), kCacheLine)));
      size_ = n;
    }
    return data();
  }
  T* data() const { return memory_.get(); }

 private:
  static constexpr std::align_val_t kCacheLine{64};
  struct Free {
    void operator()(T* memory) const { ::operator delete(memory, kCacheLine); }
  };
  std::unique_ptr<T, Free> memory_;
  size_t size_ = 0;
};

}  // namespace steelyard
