#include "jobs/saved_text.h"

#include <algorithm>

#include "base/error.h"
#include "base/sha256.h"

namespace steelyard::jobs {
namespace {

constexpr std::string_view kMagic = "{\"steelyard_text\":";
constexpr int64_t kVersion = 1;

struct Header {
  int64_t steelyard_text = kVersion;
  std::string vocabulary;
  int64_t n_ctx = 0, n_chunks = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("steelyard_text", self.steelyard_text);
    visit("vocabulary", self.vocabulary);
    visit("n_ctx", self.n_ctx);
    visit("n_chunks", self.n_chunks);
  }
};

struct Line {
  std::vector<tokenizer::TokenId> ids;
  std::vector<int64_t> starts;
  std::vector<std::string> text;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("ids", self.ids);
    visit("starts", self.starts);
    visit("text", self.text);
  }
};

// A token may be a part of a character, and so may the last one of a text.
std::string line_of(const Json& json) { return json_text(json) + "\n"; }

Json parse_line(std::string_view line, const std::string& where, size_t number) {
  Json json = parse_json(line);
  if (json.is_discarded()) fail(where, "line {} is not JSON", number);
  return json;
}

generate::WrittenChunk parse_chunk(std::string_view text, int64_t n_ctx, int n_tokens, const std::string& where,
                                   size_t number) {
  Line line;
  read_json(parse_line(text, where, number), line, fmt::format("{}: line {}", where, number));
  if (std::ssize(line.ids) != n_ctx) fail(where, "line {} has {} ids, expected {}", number, line.ids.size(), n_ctx);
  for (const tokenizer::TokenId id : line.ids) {
    if (id < 0 || id >= n_tokens) fail(where, "line {}: token {} exceeds the vocabulary of {}", number, id, n_tokens);
  }
  const bool ascending = std::ranges::adjacent_find(line.starts, std::greater_equal()) == line.starts.end();
  if (line.starts.empty() || line.starts[0] != 0 || !ascending || line.starts.back() >= n_ctx) {
    fail(where, "line {}: starts must ascend from 0 and stay below {}", number, n_ctx);
  }
  return {.ids = std::move(line.ids), .starts = std::move(line.starts)};
}

}  // namespace

tokenizer::Chunks SavedText::as_chunks(int64_t from_chunk, int64_t n_chunks, const std::string& source) const {
  if (from_chunk < 0) fail("", "--from-chunk: expected a number from 0, found {}", from_chunk);
  std::vector<std::vector<tokenizer::TokenId>> ids;
  std::vector<std::vector<int64_t>> starts;
  const auto rest = std::span(chunks).subspan(std::min(static_cast<size_t>(from_chunk), chunks.size()));
  const size_t n = n_chunks > 0 ? std::min(static_cast<size_t>(n_chunks), rest.size()) : rest.size();
  for (const generate::WrittenChunk& chunk : rest.first(n)) {
    ids.push_back(chunk.ids);
    starts.push_back(chunk.starts);
  }
  return tokenizer::Chunks::written(std::move(ids), std::move(starts), n_ctx, source);
}

std::string vocabulary_hash(const tokenizer::Tokenizer& tokenizer) {
  Sha256 hash;
  for (int id = 0; id < tokenizer.n_tokens(); ++id) {
    hash.update(tokenizer.text(id));
    hash.update("\n");
  }
  return hash.hex();
}

std::string print(const SavedText& text, int64_t n_chunks, const tokenizer::Tokenizer& tokenizer) {
  const auto chunks = std::span(text.chunks).first(static_cast<size_t>(n_chunks));
  Json header = to_json(Header{.vocabulary = vocabulary_hash(tokenizer), .n_ctx = text.n_ctx, .n_chunks = n_chunks});
  header["write"] = text.write;
  std::string content = line_of(header);
  for (const generate::WrittenChunk& chunk : chunks) {
    Line line{chunk.ids, chunk.starts, {}};
    for (size_t i = 0; i < chunk.starts.size(); ++i) {
      const auto begin = static_cast<size_t>(chunk.starts[i]);
      const size_t end = i + 1 < chunk.starts.size() ? static_cast<size_t>(chunk.starts[i + 1]) : chunk.ids.size();
      line.text.push_back(tokenizer.decode(std::span(chunk.ids).subspan(begin, end - begin), /*special=*/true));
    }
    content += line_of(to_json(line));
  }
  return content;
}

bool is_saved_text(std::string_view content) { return content.starts_with(kMagic); }

SavedText parse_saved_text(std::string_view content, const tokenizer::Tokenizer& tokenizer, const std::string& where) {
  SavedText text;
  Header header;
  size_t number = 0;
  while (!content.empty()) {
    const size_t end = content.find('\n');
    if (end == std::string_view::npos) fail(where, "its last line is cut off");
    const std::string_view line = content.substr(0, end);
    content.remove_prefix(end + 1);
    if (++number > 1) {
      text.chunks.push_back(parse_chunk(line, header.n_ctx, tokenizer.n_tokens(), where, number));
      continue;
    }
    Json json = parse_line(line, where, number);
    if (const auto write = json.find("write"); write != json.end()) {
      text.write = std::move(*write);
      json.erase(write);
    }
    read_json(json, header, where);
    if (header.steelyard_text != kVersion) {
      fail(where, "is a text of version {}, expected {}", header.steelyard_text, kVersion);
    }
    if (header.vocabulary != vocabulary_hash(tokenizer)) {
      fail(where, "was written by a model with another vocabulary");
    }
    if (header.n_ctx < 1 || header.n_ctx > (int64_t{1} << 20)) fail(where, "its chunks have {} tokens", header.n_ctx);
  }
  if (std::ssize(text.chunks) != header.n_chunks) {
    fail(where, "has {} chunks, expected {}", text.chunks.size(), header.n_chunks);
  }
  text.n_ctx = header.n_ctx;
  return text;
}

}  // namespace steelyard::jobs
