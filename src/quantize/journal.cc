#include "quantize/journal.h"

#include <optional>

#include "base/atomic_file.h"
#include "base/check.h"
#include "base/error.h"
#include "base/sha256.h"

namespace steelyard::quantize {
namespace {

constexpr std::string_view kMagic = "steelyard-journal 1";
constexpr std::string_view kBegin = "begin";
constexpr std::string_view kComplete = "complete";
constexpr std::string_view kTensor = "tensor ";
constexpr size_t kChecksumDigits = 16;

// The checksum of a line covers all lines before it.
std::string next_checksum(const std::string& before, std::string_view line) {
  Sha256 hash;
  hash.update(before);
  hash.update(line);
  return hash.hex().substr(0, kChecksumDigits);
}

std::string sealed(std::string& checksum, std::string_view line) {
  checksum = next_checksum(checksum, line);
  return fmt::format("{} {}\n", checksum, line);
}

std::string tensor_line(size_t index, const TensorHashes& hashes) {
  return fmt::format("{}{} {} {}", kTensor, index, hashes.source, hashes.result);
}

bool is_hash(std::string_view word) {
  return word.size() == kSha256Digits && word.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The hashes in the line of tensor `index`.
std::optional<TensorHashes> parse_tensor(std::string_view line, size_t index) {
  const std::string head = fmt::format("{}{} ", kTensor, index);
  if (!line.starts_with(head)) return std::nullopt;
  line.remove_prefix(head.size());
  if (line.size() != 2 * kSha256Digits + 1 || line[kSha256Digits] != ' ') return std::nullopt;
  const std::string_view source = line.substr(0, kSha256Digits), result = line.substr(kSha256Digits + 1);
  if (!is_hash(source) || !is_hash(result)) return std::nullopt;
  return TensorHashes{std::string(source), std::string(result)};
}

// Reads lines in their only possible order: magic, identity, begin, tensors, complete.
class Parser {
 public:
  bool take(std::string_view line) {
    if (content.complete) return false;
    if (!magic_) return magic_ = line == kMagic;
    if (!begun_) {
      if (line == kBegin) return begun_ = true;
      const size_t blank = line.find(' ');
      if (blank == std::string_view::npos) return false;
      identity_.emplace_back(line.substr(0, blank), line.substr(blank + 1));
      return true;
    }
    if (line == kComplete) return content.complete = true;
    const auto hashes = parse_tensor(line, content.tensors.size());
    if (hashes) content.tensors.push_back(*hashes);
    return hashes.has_value();
  }

  // An incomplete identity counts as none.
  JournalContent result() {
    if (begun_) content.identity = std::move(identity_);
    return std::move(content);
  }

  JournalContent content;

 private:
  bool magic_ = false, begun_ = false;
  RunIdentity identity_;
};

}  // namespace

JournalContent parse_journal(std::string_view text) {
  Parser parser;
  std::string& checksum = parser.content.checksum;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string_view::npos) break;  // torn
    const std::string_view line = text.substr(at, end - at);
    const bool sealed_well =
        line.size() > kChecksumDigits && line[kChecksumDigits] == ' ' &&
        next_checksum(checksum, line.substr(kChecksumDigits + 1)) == line.substr(0, kChecksumDigits);
    if (!sealed_well || !parser.take(line.substr(kChecksumDigits + 1))) {
      parser.content.damaged = end + 1 < text.size();
      break;
    }
    checksum = line.substr(0, kChecksumDigits);
    at = end + 1;
    parser.content.n_bytes = at;
  }
  return parser.result();
}

Journal::Journal(std::string path, std::string target) : log_(std::move(path), std::move(target)) {
  const std::string text = log_.content();
  content_ = parse_journal(text);
  if (text.empty()) log_.set_worthless();
  // An interruption may have torn its first line, and a power cut may have left zeros where the rest was to be.
  std::string checksum;
  const std::string first = sealed(checksum, kMagic), begun = text.substr(0, text.find_last_not_of('\0') + 1);
  if (!text.starts_with(first) && !first.starts_with(begun)) {
    fail(log_.path(), "is not a journal of this program; move it away to begin");
  }
}

void Journal::begin(const RunIdentity& identity) {
  content_ = {};
  resume();
  log_.set_worthless();
  std::string lines = sealed(content_.checksum, kMagic);
  for (const auto& [name, value] : identity) {
    STEELYARD_CHECK(name.find(' ') == std::string::npos && value.find('\n') == std::string::npos);
    lines += sealed(content_.checksum, fmt::format("{} {}", name, value));
  }
  lines += sealed(content_.checksum, kBegin);
  log_.append(lines);
  content_.identity = identity;
  sync_folder_of(log_.path());
}

void Journal::resume() { log_.cut(content_.n_bytes); }

void Journal::append(std::span<const TensorHashes> tensors) {
  if (tensors.empty()) return;
  std::string lines;
  size_t index = content_.tensors.size();
  for (const TensorHashes& hashes : tensors) lines += sealed(content_.checksum, tensor_line(index++, hashes));
  log_.append(lines);
  log_.set_worth_keeping();
  content_.tensors.insert(content_.tensors.end(), tensors.begin(), tensors.end());
}

void Journal::append_complete() {
  log_.append(sealed(content_.checksum, kComplete));
  log_.set_worth_keeping();
  content_.complete = true;
}

}  // namespace steelyard::quantize
