// Metadata as a tokenizer: what follows the header of the file is a text, which is encoded and decoded again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/target.h"
#include "gguf/reader.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::tokenizer {
namespace {

using fuzz::allow_errors, fuzz::g_sink;

void use_text(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool special : {false, true}) {
    allow_errors([&] {
      const std::vector<TokenId> ids = tokenizer.encode(text, special, special);
      for (const TokenId id : ids) STEELYARD_CHECK(id >= 0 && id < tokenizer.n_tokens());
      g_sink = tokenizer.decode(ids, special).size();
    });
  }
}

void use_tokenizer(const Tokenizer& tokenizer, std::string_view text) {
  STEELYARD_CHECK(tokenizer.n_tokens() > 0);
  for (const auto id : {tokenizer.bos(), tokenizer.eos()}) {
    STEELYARD_CHECK(!id || (*id >= 0 && *id < tokenizer.n_tokens()));
  }
  std::vector<TokenId> all(static_cast<size_t>(std::min(tokenizer.n_tokens(), 64)));
  for (size_t i = 0; i < all.size(); ++i) {
    all[i] = static_cast<TokenId>(i);
    g_sink = tokenizer.text(all[i]).size() + tokenizer.is_end_of_generation(all[i]);
  }
  g_sink = tokenizer.decode(all).size() + tokenizer.decode(all, /*special=*/true).size();
  use_text(tokenizer, text);
  use_text(tokenizer, "Hello world, it's 2026! \xe4\xbd\xa0\xe5\xa5\xbd <s>\n\n  x");
}

}  // namespace
}  // namespace steelyard::tokenizer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  static fuzz::MemoryFile file;
  file.set(data, size);
  fuzz::allow_errors([&] {
    const gguf::Reader reader(file.path(), gguf::ReadMode::kHeader);
    const tokenizer::Tokenizer tokenizer(reader.metadata());
    tokenizer::use_tokenizer(tokenizer, fuzz::as_text(data, size).substr(reader.header(0).size()));
  });
  return 0;
}
