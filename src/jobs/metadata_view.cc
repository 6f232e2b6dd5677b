#include "jobs/metadata_view.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "quantize/provenance.h"

namespace steelyard::jobs {
namespace {

// Of a line or a word of provenance.
constexpr size_t kMostBytes = 4096;

Json lines_of(std::string_view text) {
  Json lines = Json::array();
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(printable(text.substr(0, end), kMostBytes));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines.size() == 1 ? lines[0] : lines;
}

// The object that `text` spells; null if it spells none. What a file nests deeper than options ever are, or has more
// names than they do, is none: it would take a stack of any depth, or time that grows with the square of the names.
Json object_of(std::string_view text) {
  constexpr int64_t kMostDepth = 8;
  Json json = parse_json(text, kMostDepth);
  return json.is_object() ? json : Json();
}

// The elements of an array as text.
std::vector<std::string> elements(const gguf::Metadata& metadata, const std::string& key) {
  std::vector<std::string> texts;
  uint32_t type;
  std::memcpy(&type, metadata.find(key)->raw.data(), sizeof(type));
  if (static_cast<gguf::ValueType>(type) == gguf::ValueType::kString) {
    for (const std::string_view text : metadata.strings(key)) texts.push_back(json_text(Json(printable(text, 40))));
  } else {
    for (const double number : metadata.reals(key)) texts.push_back(fmt::format("{}", number));
  }
  return texts;
}

}  // namespace

Json value_of(const gguf::Metadata& metadata, const gguf::KeyValue& entry) {
  using gguf::ValueType;
  if (entry.type == ValueType::kString) return printable(metadata.string(entry.key), 200);
  if (entry.type == ValueType::kArray) return fmt::format("array of {}", metadata.array_size(entry.key));
  if (entry.type == ValueType::kBool) return metadata.boolean(entry.key, false);
  if (entry.type == ValueType::kFloat32 || entry.type == ValueType::kFloat64) return metadata.real(entry.key);
  if (entry.type == ValueType::kUint64) {  // may exceed int64
    uint64_t value;
    std::memcpy(&value, entry.raw.data(), sizeof(value));
    return value;
  }
  return metadata.integer(entry.key);
}

bool is_provenance(const gguf::KeyValue& entry) { return entry.key.starts_with(quantize::kProvenancePrefix); }

Json provenance_of(const gguf::Metadata& metadata, const gguf::KeyValue& entry) {
  if (entry.type == gguf::ValueType::kString) {
    const std::string_view text = metadata.string(entry.key);
    if (entry.key.ends_with(".options")) {
      if (Json options = object_of(text); options.is_object()) return options;
    }
    return lines_of(text);
  }
  if (entry.type != gguf::ValueType::kArray || !entry.key.ends_with(".arguments")) return value_of(metadata, entry);
  Json words = Json::array();
  for (const std::string_view word : metadata.strings(entry.key)) words.push_back(printable(word, kMostBytes));
  return words;
}

std::string value_beside(const gguf::Metadata& metadata, const gguf::KeyValue& entry, const gguf::Metadata& other) {
  constexpr size_t kShown = 6;
  const gguf::KeyValue* beside = other.find(entry.key);
  if (entry.type != gguf::ValueType::kArray || beside == nullptr || beside->type != gguf::ValueType::kArray) {
    return fmt::format("{} {}", name(entry.type), json_text(value_of(metadata, entry)));
  }
  const std::vector<std::string> ours = elements(metadata, entry.key), theirs = elements(other, entry.key);
  const auto begin = std::ranges::mismatch(ours, theirs).in1;
  const auto end = begin + std::min<ptrdiff_t>(kShown, ours.end() - begin);
  return fmt::format("array of {}, differs from element {} on: {}{}", ours.size(), begin - ours.begin(),
                     fmt::join(begin, end, ", "), end == ours.end() ? "" : ", ...");
}

}  // namespace steelyard::jobs
