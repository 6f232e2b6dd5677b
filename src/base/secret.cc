#include "base/secret.h"

#include <openssl/crypto.h>

#include "base/sha256.h"

namespace steelyard {

// Hashes have one length, and whoever does not know the secret cannot choose the bytes of one.
bool equals_secret(std::string_view said, std::string_view secret) {
  const std::string a = sha256(said), b = sha256(secret);
  return CRYPTO_memcmp(a.data(), b.data(), kSha256Digits) == 0;
}

}  // namespace steelyard
