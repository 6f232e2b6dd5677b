// SHA-256 of bytes that come in pieces, as lower-case hex digits. OpenSSL does the work, and uses the processor's
// instructions for it where they exist.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace steelyard {

/// Length of a hash in hex digits.
inline constexpr size_t kSha256Digits = 64;

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept = default;
  Sha256& operator=(Sha256&&) noexcept = default;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }

  /// The hash of all bytes so far, kSha256Digits digits. Nothing may be added afterwards.
  std::string hex();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

std::string sha256(std::span<const std::byte> bytes);
std::string sha256(std::string_view text);

/// Of a file's whole content. Error if it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace steelyard
