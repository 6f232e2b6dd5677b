#include "base/text_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/utf8.h"

namespace steelyard {
namespace {

using namespace std::string_view_literals;

struct Beginning {
  std::string_view bytes, name;
};

// Byte order marks. Those of UTF-32 come first: one of them begins like one of UTF-16.
constexpr Beginning kMarks[] = {{"\xFF\xFE\0\0"sv, "UTF-32LE"},
                                {"\0\0\xFE\xFF"sv, "UTF-32BE"},
                                {"\xFF\xFE"sv, "UTF-16LE"},
                                {"\xFE\xFF"sv, "UTF-16BE"}};
constexpr std::string_view kMark = "\xEF\xBB\xBF";  // of UTF-8

// Binary files that are taken for text by mistake.
constexpr Beginning kBinaries[] = {{"GGUF"sv, "a GGUF file"},
                                   {"\x1F\x8B"sv, "compressed with gzip"},
                                   {"\x28\xB5\x2F\xFD"sv, "compressed with zstd"},
                                   {"BZh"sv, "compressed with bzip2"},
                                   {"\xFD"
                                    "7zXZ"sv,
                                    "compressed with xz"},
                                   {"PK\x03\x04"sv, "a ZIP archive"},
                                   {"PAR1"sv, "a Parquet file"},
                                   {"%PDF"sv, "a PDF file"}};

[[noreturn]] void fail_encoding(const std::string& where, std::string_view encoding) {
  fail(where, "is text in {}, expected UTF-8: iconv -f {} -t UTF-8 converts it", encoding, encoding);
}

void refuse_binary(std::string_view text, const std::string& where) {
  for (const Beginning& known : kBinaries) {
    if (text.starts_with(known.bytes)) fail(where, "is {}, expected text in UTF-8", known.name);
  }
}

// The encoding that puts NULs where they are, at the positions by 4; empty: none that is known. Text of Latin letters
// in UTF-16 or UTF-32 has a letter and NULs for each character.
std::string_view encoding_with_nuls(std::string_view text) {
  const size_t n = std::min<size_t>(text.size(), 1 << 16) / 4;
  if (n == 0) return "";
  size_t nuls[4] = {};
  for (size_t i = 0; i < 4 * n; ++i) nuls[i % 4] += text[i] == '\0';
  const auto many = [&](size_t at) { return nuls[at] >= n - n / 4; };
  const auto few = [&](size_t at) { return nuls[at] <= n / 16; };
  if (few(0) && many(2) && many(3)) return "UTF-32LE";
  if (many(0) && many(1) && few(3)) return "UTF-32BE";
  const auto some = [&](size_t at) { return nuls[at] >= std::max<size_t>(1, n / 4); };
  if (few(0) && some(1) && few(2) && some(3)) return "UTF-16LE";
  if (some(0) && few(1) && some(2) && few(3)) return "UTF-16BE";
  return "";
}

bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// Whether a character begins at i and the text ends within it.
bool is_cut_at_end(std::string_view text, size_t i) {
  const auto lead = static_cast<unsigned char>(text[i]);
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  return lead >= 0xC2 && lead <= 0xF4 && text.size() - i < length && std::ranges::all_of(text.substr(i + 1), continues);
}

}  // namespace

void check_text(std::string_view text, const std::string& where) {
  for (const Beginning& mark : kMarks) {
    if (text.starts_with(mark.bytes)) fail_encoding(where, mark.name);
  }
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    refuse_binary(text, where);
    if (const std::string_view encoding = encoding_with_nuls(text); !encoding.empty()) fail_encoding(where, encoding);
    fail(where, "byte {} is NUL, so it is binary, expected text in UTF-8", nul);
  }
  size_t begin = 0, bad = std::string_view::npos;
  while (begin < std::min<size_t>(text.size(), 3) && continues(text[begin])) ++begin;
  bool has_wide = false;
  for (size_t i = begin; i < text.size();) {
    const size_t length = utf8_length(text, i);
    if (length == 0) {
      bad = i;
      break;
    }
    has_wide = has_wide || length > 1;
    i += length;
  }
  const bool is_piece = has_wide && (bad == std::string_view::npos || is_cut_at_end(text, bad));
  if (is_piece || (begin == 0 && bad == std::string_view::npos)) return;
  if (begin > 0 && !has_wide) bad = 0;
  const auto line = 1 + std::ranges::count(text.substr(0, bad), '\n');
  refuse_binary(text, where);
  fail(where,
       "byte {} (0x{:02x}, line {}) is not valid UTF-8, so it is in another encoding, such as ISO-8859-1, or binary; "
       "expected text in UTF-8",
       bad, static_cast<unsigned char>(text[bad]), line);
}

std::string read_text_file(const std::string& path) {
  std::string text = read_file(path);
  check_text(text, path);
  if (text.starts_with(kMark)) text.erase(0, kMark.size());
  return text;
}

RereadableText::RereadableText(const std::string& path) : path_(path) {
  std::error_code ignored;
  if (path != "-" && std::filesystem::is_regular_file(path, ignored)) return;
  const std::string text = read_text_file(path);
  copy_ = ::memfd_create("text", MFD_CLOEXEC);
  if (copy_ < 0) fail(path, "cannot be copied: {}", std::strerror(errno));
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(copy_, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int write_errno = errno;
      ::close(copy_);
      fail(path, "cannot be copied: {}", std::strerror(write_errno));
    }
    done += static_cast<size_t>(n);
  }
  path_ = fmt::format("/proc/self/fd/{}", copy_);
}

RereadableText::~RereadableText() {
  if (copy_ >= 0) ::close(copy_);
}

}  // namespace steelyard
