// What tests of pages share: whether markup is well-formed and loads nothing, and pages with much and with little.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "report/search_page.h"

namespace steelyard::test {

/// What is wrong with a page's markup; empty where nothing is. Every element is closed in order, attributes are in
/// double quotes, and each ampersand begins an entity.
inline std::string markup_error(std::string_view html) {
  static const std::regex kTag(R"((/?)([A-Za-z][A-Za-z0-9]*)((?:\s+[A-Za-z][A-Za-z0-9-]*="[^"<]*")*)\s*(/?))");
  static const std::regex kEntity(R"(&(?:amp|lt|gt|quot);)");
  std::vector<std::string> open;
  const auto bare_ampersand = [&](const std::string& text) {
    return std::regex_replace(text, kEntity, "").find('&') != std::string::npos;
  };
  for (size_t at = 0; at < html.size();) {
    if (html[at] == '>') return "a bare > at " + std::string(html.substr(at, 40));
    if (html[at] != '<') {
      const size_t end = std::min(html.find_first_of("<>", at), html.size());
      const bool is_style = !open.empty() && open.back() == "style";
      if (!is_style && bare_ampersand(std::string(html.substr(at, end - at)))) return "a bare & in a text";
      at = end;
      continue;
    }
    const size_t end = html.find('>', at);
    if (end == std::string_view::npos) return "a tag without an end";
    const std::string tag(html.substr(at + 1, end - at - 1));
    at = end + 1;
    if (tag == "!DOCTYPE html") continue;
    std::smatch match;
    if (!std::regex_match(tag, match, kTag)) return "no tag: " + tag;
    if (bare_ampersand(match[3])) return "a bare & in " + tag;
    if (match[1].length() > 0) {
      if (open.empty() || open.back() != match[2]) return "</" + match[2].str() + "> where it is not open";
      open.pop_back();
    } else if (match[4].length() == 0) {
      open.push_back(match[2]);
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

/// The first thing in a page that runs, loads or is no number; empty where there is none.
inline std::string forbidden(const std::string& html) {
  for (const char* const word : {"<script", "javascript:", "http:", "https:", "src=", "href=", "url(", "@import",
                                 "<link", "<iframe", "onload"}) {
    if (html.find(word) != std::string::npos) return word;
  }
  static const std::regex kNumber(R"([^A-Za-z](nan|inf)[^A-Za-z])");
  std::smatch match;
  return std::regex_search(html, match, kNumber) ? match[0].str() : "";
}

inline void expect_sound(const std::string& html) {
  EXPECT_EQ(markup_error(html), "");
  EXPECT_EQ(forbidden(html), "");
}

inline size_t count(std::string_view text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

/// A search of a model with experts: so many layers, the first three dense, and embedding and output outside.
inline report::SearchPage large_page(int64_t n_layers) {
  report::SearchPage page{.model = "/models/large-bf16.gguf",
                          .text = "text.txt",
                          .output = "found.plan",
                          .n_ctx = 512,
                          .n_calibrating = 128,
                          .n_held_out = 16,
                          .budget = uint64_t{100} << 30};
  static const char* const kTypes[] = {"tiny", "small", "large"};
  static constexpr uint64_t kBits[] = {2, 4, 6};
  const auto add = [&](std::string kind, int64_t layer, std::string group, uint64_t n, size_t type, bool has_loss) {
    report::PlannedTensor tensor{.name = layer < 0 ? kind : "blk." + std::to_string(layer) + "." + kind,
                                 .kind = std::move(kind),
                                 .group = std::move(group),
                                 .type = kTypes[type],
                                 .bytes = n * kBits[type] / 8,
                                 .n_elements = n};
    if (layer >= 0) tensor.layer = layer;
    if (has_loss) tensor.loss = 1e-4 / static_cast<double>(kBits[type] * kBits[type] * (layer + 1));
    page.n_elements += n;
    page.tensors.push_back(std::move(tensor));
  };
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    const bool is_dense = layer < 3;
    for (const char* const kind : {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight"})
      add(kind, layer, "attention", 5120 * 1024, layer % 9 == 0 ? 2 : 1, true);
    if (is_dense) {
      for (const char* const kind : {"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"})
        add(kind, layer, "dense feed-forward", 5120 * 12288, 2, true);
      continue;
    }
    for (const char* const kind : {"ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"})
      add(kind, layer, "experts", uint64_t{160} * 5120 * 1536, layer < 9 || layer > n_layers - 6 ? 1 : 0, true);
    for (const char* const kind : {"ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight"})
      add(kind, layer, "shared experts", 5120 * 1536, 2, true);
  }
  add("token_embd.weight", -1, "embedding", uint64_t{151552} * 5120, 1, false);
  add("output.weight", -1, "output", uint64_t{151552} * 5120, 2, false);
  using Role = report::MeasuredPlan::Role;
  page.plans = {{.name = "start",
                 .role = Role::kStart,
                 .bytes = uint64_t{99} << 30,
                 .kld = {0.05125, 0.0031},
                 .same_top = 0.9125,
                 .estimated = 0.0511},
                {.name = "IQ2_M",
                 .role = Role::kPreset,
                 .bytes = uint64_t{96} << 30,
                 .kld = {0.08275, 0.0042},
                 .same_top = 0.8875,
                 .from_start = {0.0315, 0.0024},
                 .from_chosen = {0.0440, 0.0031}},
                {.name = "proposal 1",
                 .bytes = (uint64_t{100} << 30) - 12345,
                 .kld = {0.03875, 0.0022},
                 .same_top = 0.9275,
                 .estimated = 0.0371,
                 .from_start = {-0.0125, 0.0011}}};
  page.plans[0].from_chosen = {0.0125, 0.0011};
  page.chosen = 2;
  for (uint64_t i = 0; i < 25; ++i)
    page.frontier.push_back({(80 + 4 * i) << 30, 0.09 * std::exp(-0.12 * static_cast<double>(i))});
  page.more = report::MoreBytes{.extra = uint64_t{1} << 30,
                                .kld_before = 0.0371,
                                .kld_after = 0.0352,
                                .changes = {{"ffn_down_exps.weight", "tiny", "small", 3, 943718400, 0.0013},
                                            {"attn_q.weight", "large", "small", 2, -2621440, -0.0001}}};
  page.divergence = {.mean_kld = {0.03875, 0.0022}, .same_top = {0.9275, 0.004}};
  page.divergence.percentiles = {{"median", 0.0123}, {"99 %", 0.4567}, {"largest", 5.678}};
  page.divergence.kld_by_chunk = {0.031, 0.047, 0.0382};
  page.divergence.worst = {{.chunk = 2,
                            .position = 301,
                            .before = "Say <b>",
                            .token = " \"quoted\"\n",
                            .base_probability = 0.5125,
                            .probability = 0.0125,
                            .base_choice = report::Choice{" & more", 0.6125},
                            .choice = report::Choice{std::string("\x01\xFF", 2), 0.3125},
                            .kld = 5.678}};
  report::Routers routers{.n_used = 8, .n_expert = 160, .same_set = 0.4125, .overlap = 0.8625};
  for (int64_t layer = 3; layer < n_layers; ++layer)
    routers.layers.push_back(
        {layer, 0.6 - 0.004 * static_cast<double>(layer), 0.95 - 0.001 * static_cast<double>(layer)});
  page.divergence.routers = std::move(routers);
  return page;
}

}  // namespace steelyard::test
