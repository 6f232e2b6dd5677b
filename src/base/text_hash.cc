#include "base/text_hash.h"

#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

namespace steelyard {
namespace {

using Secret = std::array<uint64_t, 5>;

const Secret& secret() {
  static const Secret drawn = [] {
    Secret secret{};
    if (::getrandom(secret.data(), sizeof(secret), 0) != static_cast<ssize_t>(sizeof(secret))) {
      // A kernel without this call. Where the stack lies, the time and the process are still hard to guess.
      const auto now = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
      for (size_t i = 0; i < secret.size(); ++i) {
        secret[i] = (now ^ reinterpret_cast<uintptr_t>(&secret) ^ static_cast<uint64_t>(::getpid()) << 40) *
                    (0x9E3779B97F4A7C15u + 2 * i);
      }
    }
    return secret;
  }();
  return drawn;
}

struct SipState {
  uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v2 += v3;
    v1 = std::rotl(v1, 13) ^ v0;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 = std::rotl(v0, 32);
    v2 += v1;
    v0 += v3;
    v1 = std::rotl(v1, 17) ^ v2;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 = std::rotl(v2, 32);
  }
  void absorb(uint64_t word) {
    v3 ^= word;
    round();
    v0 ^= word;
  }
};

}  // namespace

uint64_t text_hash(std::string_view text) {
  const auto& [k0, k1, unused0, unused1, unused2] = secret();
  // The constants spell "somepseudorandomlygeneratedbytes".
  SipState state{k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573};
  const char* at = text.data();
  size_t left = text.size();
  for (; left >= sizeof(uint64_t); at += sizeof(uint64_t), left -= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, at, sizeof(word));
    state.absorb(word);
  }
  uint64_t last = static_cast<uint64_t>(text.size()) << 56;
  for (size_t i = 0; i < left; ++i) last |= uint64_t{static_cast<unsigned char>(at[i])} << (8 * i);
  state.absorb(last);
  state.v2 ^= 0xFF;
  for (int i = 0; i < 3; ++i) state.round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

NumberHash::NumberHash() : mask_(secret()[2]), first_(secret()[3] | 1), second_(secret()[4] | 1) {}

}  // namespace steelyard
