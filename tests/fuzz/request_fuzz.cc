// Any bytes as the body of a request to the server: refused with an error object, or read with every field in its
// range. The first byte chooses what is asked for.
#include <cstddef>
#include <cstdint>
#include <string>

#include "fuzz/target.h"
#include "json/json.h"
#include "serve/refusal.h"
#include "serve/requests.h"
#include "tokenizer/small_model.h"

namespace steelyard::serve {
namespace {

using fuzz::g_sink;

tokenizer::Tokenizer make_tokenizer() {
  using tokenizer::TokenType;
  tokenizer::SmallModel model({{"a", "b"}, {"ab", "c"}}, {{"<s>", TokenType::kControl}, {"</s>", TokenType::kControl}});
  model.rest.set_integer("tokenizer.ggml.bos_token_id", 258);
  model.rest.set_integer("tokenizer.ggml.eos_token_id", 259);
  return tokenizer::Tokenizer(model.metadata());
}

void check(const SharedFields& shared) {
  STEELYARD_CHECK(shared.n >= 1 && shared.n <= kMostChoices && shared.stops.size() <= kMostStops);
  for (const std::string& stop : shared.stops) STEELYARD_CHECK(!stop.empty());
  STEELYARD_CHECK(shared.max_tokens.value_or(0) >= 0 && shared.n_top.value_or(0) >= 0);
  STEELYARD_CHECK(shared.n_top.value_or(0) <= kMostTop);
  generate::check(shared.sampling);  // what a request may say, a sampler takes
}

void read(uint8_t kind, const json::Json& body) {
  static const tokenizer::Tokenizer tokenizer = make_tokenizer();
  if (kind % 3 == 0) {
    const CompletionRequest request = read_completion(body, tokenizer, {});
    check(request.shared);
    STEELYARD_CHECK(!request.prompts.empty() && std::ssize(request.prompts) <= kMostChoices);
    for (const auto& prompt : request.prompts) {
      for (const tokenizer::TokenId id : prompt) STEELYARD_CHECK(id >= 0 && id < tokenizer.n_tokens());
    }
  } else if (kind % 3 == 1) {
    const ChatRequest request = read_chat(body, {});
    check(request.shared);
    STEELYARD_CHECK(!request.messages.empty() && (request.tools.is_null() || request.tools.is_array()));
    g_sink = json::json_text(request.messages).size() + json::json_text(request.template_kwargs).size();
  } else {
    g_sink = read_tokenize(body).content.size();
  }
}

}  // namespace
}  // namespace steelyard::serve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  if (size < 1) return 0;
  const json::Json body = json::parse_json(fuzz::as_text(data, size).substr(1), 64);
  if (body.is_discarded()) return 0;
  try {
    serve::read(data[0], body);
  } catch (const serve::Refusal& refusal) {
    // The answer is JSON whatever the request had in it.
    STEELYARD_CHECK(refusal.status == 400 && json::parse_json(json::json_text(refusal.body())).is_object());
  }
  return 0;
}
