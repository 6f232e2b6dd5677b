#include "plan/layer_set.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "plan/text.h"

namespace steelyard::plan {
namespace {

// Far above any model, and small enough that no product below leaves 64 bits.
constexpr int64_t kMaxNumber = 999999;

// The digits of `text` as a number; nothing when it is anything else or too large.
std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text[0] == '-' || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value > kMaxNumber) return std::nullopt;
  return value;
}

}  // namespace

LayerSet::Bound LayerSet::parse_bound(std::string_view text, Bound absent, const std::string& where) {
  text = trim(text);
  if (text.empty()) return absent;
  if (text[0] == '-') {
    if (const auto back = number(text.substr(1)); back && *back > 0) return {1, 1, -*back};
  } else if (const size_t slash = text.find('/'); slash != std::string_view::npos) {
    const size_t sign = text.find_first_of("+-", slash);
    const auto numerator = number(text.substr(0, slash));
    const auto denominator = number(text.substr(slash + 1, sign == std::string_view::npos ? sign : sign - slash - 1));
    const auto offset = sign == std::string_view::npos ? 0 : number(text.substr(sign + 1));
    if (numerator && denominator && offset && *denominator > 0 && *numerator <= *denominator) {
      return {*numerator, *denominator, sign != std::string_view::npos && text[sign] == '-' ? -*offset : *offset};
    }
  } else if (const auto plain = number(text)) {
    return {0, 1, *plain};
  }
  fail(where, "'{}' is no layer; expected a number (12), one counted from the end (-4) or a fraction (7/8, 1/8+2)",
       printable(text));
}

LayerSet::Slice LayerSet::parse_term(std::string_view term, const std::string& where) {
  term = trim(term);
  if (term.empty()) fail(where, "empty term in a layer set; expected something like {{0-4,46}} or {{:1/8}}");
  const std::vector<std::string_view> parts = split(term, ':');
  if (parts.size() == 1) {
    // A dash between two plain numbers is an inclusive range; everything else is a single layer.
    const size_t dash = term.find('-', 1);
    const auto first = dash == std::string_view::npos ? std::nullopt : number(trim(term.substr(0, dash)));
    if (first) {
      const auto last = number(trim(term.substr(dash + 1)));
      if (!last || *last < *first) fail(where, "'{}' is no range of layers; expected first-last", printable(term));
      return {{0, 1, *first}, {0, 1, *last + 1}, 1};
    }
    const Bound layer = parse_bound(term, {}, where);
    return {layer, {layer.numerator, layer.denominator, layer.offset + 1}, 1};
  }
  Slice slice{parse_bound(parts[0], {}, where), parse_bound(parts[1], {1, 1, 0}, where)};
  if (parts.size() > 2) {
    const auto step = number(trim(parts[2]));
    if (parts.size() > 3 || !step || *step == 0) {
      fail(where, "'{}' is no slice of layers; expected begin:end or begin:end:step", printable(term));
    }
    slice.step = *step;
  }
  return slice;
}

LayerSet LayerSet::parse(std::string_view text, const std::string& where) {
  constexpr size_t kMostTerms = 4096;  // each is asked about each layer
  LayerSet set;
  for (const std::string_view term : split(text, ',')) {
    if (set.slices_.size() == kMostTerms) fail(where, "a layer set has more than {} terms", kMostTerms);
    set.slices_.push_back(parse_term(term, where));
  }
  return set;
}

bool LayerSet::contains(int64_t layer, int64_t n_layers) const {
  for (const Slice& slice : slices_) {
    // A bound may count back further from the end than the model has layers.
    const int64_t begin = std::max<int64_t>(0, slice.begin.at(n_layers));
    if (layer >= begin && layer < slice.end.at(n_layers) && (layer - begin) % slice.step == 0) return true;
  }
  return false;
}

}  // namespace steelyard::plan
