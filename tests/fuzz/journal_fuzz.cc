// Any text as the journal of a quantization: as it is, and with every line's checksum put right, because hardly a
// mutation gets past those.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/sha256.h"
#include "fuzz/target.h"
#include "quantize/journal.h"

namespace steelyard::quantize {
namespace {

using fuzz::g_sink;

constexpr size_t kChecksumDigits = 16;  // then a blank

JournalContent use_journal(std::string_view text) {
  JournalContent content = parse_journal(text);
  STEELYARD_CHECK(content.n_bytes <= text.size());
  for (const TensorHashes& hashes : content.tensors) {
    STEELYARD_CHECK(hashes.source.size() == kSha256Digits && hashes.result.size() == kSha256Digits);
  }
  // What was believed is believed again without what was not, and nothing is wrong with it.
  const JournalContent again = parse_journal(text.substr(0, content.n_bytes));
  STEELYARD_CHECK(again.tensors == content.tensors && again.complete == content.complete && !again.damaged);
  STEELYARD_CHECK(again.checksum == content.checksum && again.n_bytes == content.n_bytes);
  return content;
}

std::string sealed(std::string_view text) {
  std::string out, checksum;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (line.size() > kChecksumDigits && line[kChecksumDigits] == ' ') line.remove_prefix(kChecksumDigits + 1);
    Sha256 hash;
    hash.update(checksum);
    hash.update(line);
    checksum = hash.hex().substr(0, kChecksumDigits);
    out += checksum + " " + std::string(line) + "\n";
    at = end + 1;
  }
  return out;
}

}  // namespace
}  // namespace steelyard::quantize

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  const std::string_view text = fuzz::as_text(data, size);
  quantize::use_journal(text);
  quantize::use_journal(quantize::sealed(text));
  return 0;
}
