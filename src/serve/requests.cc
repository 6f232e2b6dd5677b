#include "serve/requests.h"

#include <algorithm>
#include <limits>
#include <random>

namespace steelyard::serve {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 31;  // no context is longer

uint64_t drawn_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) >> 1;
}

// Clients call most steps of sampling alike; the names of llama.cpp's server count as well.
generate::SamplingOptions read_sampling(const Fields& fields, const generate::SamplingOptions& defaults) {
  constexpr double kMost = 1e6;
  generate::SamplingOptions options = defaults;
  options.temperature = fields.number("temperature", 0, kMost).value_or(options.temperature);
  options.top_k = fields.integer("top_k", -1, kMostTokens).value_or(options.top_k);
  options.top_k = std::max<int64_t>(options.top_k, 0);  // -1 elsewhere, too, means all
  options.top_p = fields.number("top_p", 0, 1).value_or(options.top_p);
  options.min_p = fields.number("min_p", 0, 1).value_or(options.min_p);
  for (const char* name : {"repetition_penalty", "repeat_penalty"})
    options.repeat_penalty = fields.number(name, 1e-3, kMost).value_or(options.repeat_penalty);
  options.repeat_last_n = fields.integer("repeat_last_n", -1, kMostTokens).value_or(options.repeat_last_n);
  const std::optional<int64_t> seed = fields.integer("seed", -1, std::numeric_limits<int64_t>::max());
  options.seed = seed && *seed >= 0 ? static_cast<uint64_t>(*seed) : drawn_seed();
  for (const char* name : {"presence_penalty", "frequency_penalty"}) {
    if (fields.number(name, -2, 2).value_or(0) != 0) refuse(name, "{}: only 0 is supported; see repeat_penalty", name);
  }
  if (const json::Json* bias = fields.find("logit_bias"); bias != nullptr && !bias->empty())
    refuse("logit_bias", "logit_bias: not supported");
  return options;
}

SharedFields read_shared(const Fields& fields, const generate::SamplingOptions& defaults) {
  SharedFields shared;
  fields.text("model");  // there is one model, whatever it is called
  shared.n = fields.integer("n", 1, kMostChoices).value_or(1);
  shared.stops = fields.texts("stop", kMostStops);
  for (const std::string& stop : shared.stops) {
    if (stop.empty()) refuse("stop", "stop: a stop string is empty");
  }
  shared.sampling = read_sampling(fields, defaults);
  shared.stream = fields.flag("stream", false);
  if (const json::Json* options = fields.find("stream_options"))
    shared.include_usage = Fields(*options, "stream_options.").flag("include_usage", false);
  return shared;
}

std::vector<tokenizer::TokenId> read_ids(const json::Json& array, const tokenizer::Tokenizer& tokenizer) {
  std::vector<tokenizer::TokenId> ids;
  for (const json::Json& element : array) {
    const std::optional<int64_t> id = whole_number(element, 0, tokenizer.n_tokens() - 1);
    if (!id) refuse("prompt", "prompt: expected tokens from 0 to {}", tokenizer.n_tokens() - 1);
    ids.push_back(static_cast<tokenizer::TokenId>(*id));
  }
  return ids;
}

// A text or its tokens, or a list of either.
std::vector<std::vector<tokenizer::TokenId>> read_prompts(const Fields& fields, const tokenizer::Tokenizer& tokenizer) {
  const json::Json* const prompt = fields.find("prompt");
  if (prompt == nullptr) refuse("prompt", "prompt: expected a text or a list of tokens");
  if (prompt->is_string()) return {encode_prompt(tokenizer, prompt->get<std::string>())};
  if (!prompt->is_array() || prompt->empty()) refuse("prompt", "prompt: expected a text or a list of tokens");
  if (prompt->front().is_number()) return {read_ids(*prompt, tokenizer)};
  if (std::ssize(*prompt) > kMostChoices) refuse("prompt", "prompt: expected up to {} prompts", kMostChoices);
  std::vector<std::vector<tokenizer::TokenId>> prompts;
  for (const json::Json& element : *prompt) {
    if (element.is_string())
      prompts.push_back(encode_prompt(tokenizer, element.get<std::string>()));
    else if (element.is_array())
      prompts.push_back(read_ids(element, tokenizer));
    else
      refuse("prompt", "prompt: expected texts or lists of tokens");
  }
  return prompts;
}

}  // namespace

std::vector<tokenizer::TokenId> encode_prompt(const tokenizer::Tokenizer& tokenizer, const std::string& text) {
  std::vector<tokenizer::TokenId> ids = tokenizer.encode(text, /*add_special=*/false, /*parse_special=*/true);
  if (tokenizer.add_bos()) ids.insert(ids.begin(), *tokenizer.bos());
  return ids;
}

CompletionRequest read_completion(const json::Json& body, const tokenizer::Tokenizer& tokenizer,
                                  const generate::SamplingOptions& defaults) {
  constexpr int64_t kDefaultTokens = 16;  // OpenAI's
  const Fields fields(body);
  CompletionRequest request{.shared = read_shared(fields, defaults)};
  request.shared.max_tokens = fields.integer("max_tokens", 0, kMostTokens).value_or(kDefaultTokens);
  request.shared.n_top = fields.integer("logprobs", 0, kMostTop);
  request.echo = fields.flag("echo", false);
  if (request.shared.max_tokens == 0 && !request.echo) refuse("max_tokens", "max_tokens: 0 is for \"echo\": true only");
  if (const auto best_of = fields.integer("best_of", 1, kMostChoices); best_of && *best_of != request.shared.n)
    refuse("best_of", "best_of: expected the same as n");
  if (fields.find("suffix") != nullptr) refuse("suffix", "suffix: not supported");
  request.prompts = read_prompts(fields, tokenizer);
  return request;
}

ChatRequest read_chat(const json::Json& body, const generate::SamplingOptions& defaults) {
  const Fields fields(body);
  ChatRequest request{.shared = read_shared(fields, defaults)};
  request.shared.max_tokens = fields.integer("max_tokens", 1, kMostTokens);
  if (const auto newer = fields.integer("max_completion_tokens", 1, kMostTokens)) request.shared.max_tokens = newer;
  const std::optional<int64_t> n_top = fields.integer("top_logprobs", 0, kMostTop);
  if (fields.flag("logprobs", false))
    request.shared.n_top = n_top.value_or(0);
  else if (n_top.value_or(0) > 0)
    refuse("top_logprobs", "top_logprobs: needs \"logprobs\": true");

  const json::Json* const messages = fields.find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty())
    refuse("messages", "messages: expected a list of messages");
  for (const json::Json& message : *messages) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
      refuse("messages", "messages: expected objects with a role");
  }
  request.messages = *messages;
  if (const json::Json* tools = fields.find("tools")) {
    if (!tools->is_array()) refuse("tools", "tools: expected a list");
    const auto choice = fields.find("tool_choice");
    if (!tools->empty() && (choice == nullptr || *choice != "none")) request.tools = *tools;
  }
  if (const json::Json* kwargs = fields.find("chat_template_kwargs")) {
    if (!kwargs->is_object()) refuse("chat_template_kwargs", "chat_template_kwargs: expected an object");
    request.template_kwargs = *kwargs;
  }
  if (const json::Json* format = fields.find("response_format")) {
    if (Fields(*format, "response_format.").text("type").value_or("text") != "text")
      refuse("response_format", "response_format: only \"text\" is supported");
  }
  return request;
}

TokenizeRequest read_tokenize(const json::Json& body) {
  const Fields fields(body);
  TokenizeRequest request;
  const std::optional<std::string> content = fields.text("content");
  if (!content) refuse("content", "content: expected a text");
  request.content = *content;
  request.add_special = fields.flag("add_special", request.add_special);
  request.parse_special = fields.flag("parse_special", request.parse_special);
  request.with_pieces = fields.flag("with_pieces", request.with_pieces);
  return request;
}

}  // namespace steelyard::serve
