#include "llama_flags.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <string_view>

#include "jobs/plan.h"

namespace steelyard::tools {
namespace {

const std::map<std::string_view, std::string_view> kLongForms = {
    {"-ctk", "--cache-type-k"}, {"-ctv", "--cache-type-v"}, {"-ngl", "--gpu-layers"},
    {"-ts", "--tensor-split"},  {"-fa", "--flash-attn"},    {"-ofreq", "--output-frequency"}};

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

// "--flag" of "--flag=value".
std::string_view flag_of(std::string_view word) { return word.substr(0, word.find('=')); }

bool is_number(std::string_view word) {
  return !word.empty() && std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
}

// llama-quantize's usage is [flags] in [out] type [threads]: a number is one of threads if it stands behind a type.
void name_threads(std::vector<std::string>& words) {
  constexpr size_t kFewest = 4;  // quantize in type threads
  if (words.size() < kFewest || words.front() != "quantize" || !is_number(words.back())) return;
  const auto type = words.end() - 2;
  // "--preset Q4_K_M 8" is no usage of llama-quantize.
  if ((type - 1)->starts_with("--") || jobs::plan_name(*type).empty()) return;
  words.insert(words.end() - 1, "--threads");
}

}  // namespace

std::vector<std::string> from_llama(std::vector<std::string> arguments) {
  std::vector<std::string> words;
  const bool imatrix = !arguments.empty() && arguments.front() == "imatrix";
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string word = arguments[i];
    if (word == "--") {  // the rest is no flags
      words.insert(words.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
      return words;
    }
    if (const auto found = kLongForms.find(word); found != kLongForms.end()) word = found->second;
    const bool has_value = word.find('=') != std::string::npos;
    if (flag_of(word) == "--flash-attn") {
      const bool takes_next =
          !has_value && i + 1 < arguments.size() && is_one_of(arguments[i + 1], {"on", "off", "auto", "0", "1"});
      i += takes_next ? 1 : 0;
    } else if (is_one_of(word, {"--no-mmap", "--mlock"}) || (imatrix && word == "--no-ppl")) {
    } else if (imatrix && flag_of(word) == "--output-frequency") {
      i += has_value ? 0 : 1;
    } else {
      words.push_back(std::move(word));
    }
  }
  name_threads(words);
  return words;
}

}  // namespace steelyard::tools
