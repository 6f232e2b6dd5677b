// Requests of OpenAI's API as structs: every field checked for its kind and range before anything is done. Fields that
// are not here are ignored. Throws Refusal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "generate/sampler.h"
#include "serve/fields.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::serve {

inline constexpr int64_t kMostChoices = 64;
inline constexpr int64_t kMostTop = 20;  ///< of top_logprobs
inline constexpr size_t kMostStops = 16;

/// What requests for text have in common.
struct SharedFields {
  std::optional<int64_t> max_tokens;  ///< of the answer; none: until the context is full
  int64_t n = 1;                      ///< answers
  std::vector<std::string> stops;
  generate::SamplingOptions sampling;  ///< with the seed, drawn where the request has none
  bool stream = false;
  bool include_usage = false;  ///< in a stream's last chunk
  std::optional<int64_t> n_top;
};

struct CompletionRequest {
  SharedFields shared;
  std::vector<std::vector<tokenizer::TokenId>> prompts = {};
  bool echo = false;
};

struct ChatRequest {
  SharedFields shared;
  json::Json messages = {};         ///< an array of objects with a role each
  json::Json tools = {};            ///< an array, or null
  json::Json template_kwargs = {};  ///< an object, or null
};

struct TokenizeRequest {
  std::string content;
  bool add_special = false;
  bool parse_special = true;
  bool with_pieces = false;
};

/// defaults: of sampling where a request says nothing.
CompletionRequest read_completion(const json::Json& body, const tokenizer::Tokenizer& tokenizer,
                                  const generate::SamplingOptions& defaults);
ChatRequest read_chat(const json::Json& body, const generate::SamplingOptions& defaults);
TokenizeRequest read_tokenize(const json::Json& body);

/// A text to continue as `run` reads it: special tokens by their names, BOS where the model has it.
std::vector<tokenizer::TokenId> encode_prompt(const tokenizer::Tokenizer& tokenizer, const std::string& text);

}  // namespace steelyard::serve
