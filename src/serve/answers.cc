#include "serve/answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace steelyard::serve {
namespace {

int64_t count_characters(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
}

std::string token_text(const tokenizer::Tokenizer& tokenizer, tokenizer::TokenId id) {
  return tokenizer.decode(std::span(&id, 1), /*special=*/true);
}

}  // namespace

AnswerHead make_head(std::string_view prefix, const std::string& model) {
  std::random_device device;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {fmt::format("{}{:08x}{:08x}{:08x}", prefix, device(), device(), device()),
          std::chrono::duration_cast<std::chrono::seconds>(now).count(), model};
}

const char* finish_name(generate::FinishReason finish) {
  const bool cut = finish == generate::FinishReason::kTokens || finish == generate::FinishReason::kContext;
  return cut ? "length" : "stop";
}

void UsageSum::add(const Event& event) {
  if (!event.is_last()) return;
  sum_.generated += event.usage.generated;
  if (event.index % choices_per_prompt_ != 0) return;
  sum_.prompt += event.usage.prompt;
  sum_.cached += event.usage.cached;
}

json::Json UsageSum::json() const {
  return {{"prompt_tokens", sum_.prompt},
          {"completion_tokens", sum_.generated},
          {"total_tokens", sum_.prompt + sum_.generated},
          {"prompt_tokens_details", {{"cached_tokens", sum_.cached}}}};
}

CompletionWriter::CompletionWriter(AnswerHead head, const tokenizer::Tokenizer& tokenizer, Options options)
    : head_(std::move(head)),
      tokenizer_(tokenizer),
      options_(std::move(options)),
      choices_(options_.prompts.size() * static_cast<size_t>(options_.n)),
      usage_(options_.n) {}

json::Json CompletionWriter::answer(json::Json choices) const {
  return {{"id", head_.id},
          {"object", "text_completion"},
          {"created", head_.created},
          {"model", head_.model},
          {"choices", std::move(choices)}};
}

void CompletionWriter::add_scores(const std::vector<ScoredToken>& tokens, json::Json& logprobs, Choice& choice) const {
  if (logprobs.is_null()) {
    logprobs = {{"tokens", json::Json::array()},
                {"token_logprobs", json::Json::array()},
                {"top_logprobs", json::Json::array()},
                {"text_offset", json::Json::array()}};
  }
  for (const ScoredToken& scored : tokens) {
    const std::string text = token_text(tokenizer_, scored.token.id);
    logprobs["tokens"].push_back(text);
    logprobs["text_offset"].push_back(choice.n_characters);
    choice.n_characters += count_characters(text);
    logprobs["token_logprobs"].push_back(scored.scored ? json::Json(scored.token.logprob) : json::Json());
    json::Json top;  // by text, with the token itself, as OpenAI has it
    if (scored.scored) {
      top = json::Json::object();
      for (const TokenScore& one : scored.top) {
        const std::string name = token_text(tokenizer_, one.id);
        if (!top.contains(name)) top[name] = one.logprob;
      }
      if (!top.contains(text)) top[text] = scored.token.logprob;
    }
    logprobs["top_logprobs"].push_back(std::move(top));
  }
}

std::vector<json::Json> CompletionWriter::take(const Event& event) {
  usage_.add(event);
  Choice& choice = choices_.at(static_cast<size_t>(event.index));
  json::Json chunk{{"index", event.index}, {"text", ""}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
  std::string text;
  if (options_.echo && !choice.begun) {
    text = tokenizer_.decode(options_.prompts[static_cast<size_t>(event.index / options_.n)], /*special=*/true);
    if (!options_.scores) choice.n_characters = count_characters(text);
  }
  choice.begun = true;
  text += event.text;
  if (options_.scores) {
    for (const auto& tokens : {&event.prompt, &event.tokens}) {
      if (tokens->empty()) continue;
      const int64_t before = choice.n_characters;
      add_scores(*tokens, choice.logprobs, choice);
      choice.n_characters = before;
      add_scores(*tokens, chunk["logprobs"], choice);
    }
  }
  if (event.finish) chunk["finish_reason"] = choice.finish = finish_name(*event.finish);
  chunk["text"] = text;
  choice.text += text;
  return {answer(json::Json::array({std::move(chunk)}))};
}

json::Json CompletionWriter::whole() const {
  json::Json choices = json::Json::array();
  for (const Choice& choice : choices_) {
    choices.push_back({{"index", choices.size()},
                       {"text", choice.text},
                       {"logprobs", choice.logprobs},
                       {"finish_reason", choice.finish}});
  }
  json::Json whole = answer(std::move(choices));
  whole["usage"] = usage_.json();
  return whole;
}

json::Json CompletionWriter::usage_chunk() const {
  json::Json chunk = answer(json::Json::array());
  chunk["usage"] = usage_.json();
  return chunk;
}

json::Json chat_scores(const std::vector<ScoredToken>& tokens, const tokenizer::Tokenizer& tokenizer) {
  const auto score = [&](const TokenScore& token) {
    const std::string text = token_text(tokenizer, token.id);
    json::Json bytes = json::Json::array();
    for (const char c : text) bytes.push_back(static_cast<uint8_t>(c));
    return json::Json{{"token", text}, {"logprob", token.logprob}, {"bytes", std::move(bytes)}};
  };
  json::Json content = json::Json::array();
  for (const ScoredToken& scored : tokens) {
    json::Json entry = score(scored.token);
    entry["top_logprobs"] = json::Json::array();
    for (const TokenScore& one : scored.top) entry["top_logprobs"].push_back(score(one));
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}};
}

json::Json comparison_json(const ComparedAnswers& compared, const tokenizer::Tokenizer& tokenizer,
                           const std::vector<std::string>& models) {
  json::Json answers = json::Json::array();
  for (const std::vector<ComparedToken>& tokens : compared.answers) {
    json::Json rows = json::Json::array();
    double sum = 0;
    int64_t n_agree = 0;
    std::vector<tokenizer::TokenId> ids;
    for (const ComparedToken& token : tokens) {
      json::Json top = json::Json::array();
      for (const std::vector<TokenScore>& of_model : token.top) {
        top.push_back(json::Json::array());
        for (const TokenScore& one : of_model)
          top.back().push_back({{"id", one.id}, {"token", token_text(tokenizer, one.id)}, {"logprob", one.logprob}});
      }
      rows.push_back(
          {{"text", token_text(tokenizer, token.id)}, {"divergence", token.divergence}, {"top", std::move(top)}});
      ids.push_back(token.id);
      sum += token.divergence;
      n_agree += token.agrees();
    }
    const auto n = static_cast<double>(tokens.size());
    answers.push_back({{"text", tokenizer.decode(ids)},
                       {"agreement", static_cast<double>(n_agree) / n},
                       {"divergence", sum / n},
                       {"tokens", std::move(rows)}});
  }
  return {{"models", models},
          {"first_difference", compared.first_difference ? json::Json(*compared.first_difference) : json::Json()},
          {"answers", std::move(answers)}};
}

std::string sse(const json::Json& chunk) { return "data: " + json::json_text(chunk) + "\n\n"; }

}  // namespace steelyard::serve
