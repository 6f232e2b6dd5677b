#include "generate/beginnings.h"

#include <algorithm>
#include <optional>

#include "base/error.h"

namespace steelyard::generate {
namespace {

// What stands around the turns of a chat, by a text that only templates of this kind have. The first that fits counts.
struct ChatMarkup {
  std::string_view probe;          // in tokenizer.chat_template
  std::string_view before;         // the first turn, after BOS
  std::string_view user;           // opens the user's turn
  std::string_view answer;         // closes it, where the model has not, and opens the model's turn
  std::string_view turn_end = {};  // ends a turn, but not generation
};
constexpr ChatMarkup kMarkups[] = {
    {"<|im_start|>", "", "<|im_start|>user\n", "\n<|im_start|>assistant\n"},       // ChatML: Qwen, SmolLM
    {"[gMASK]<sop>", "[gMASK]<sop>", "<|user|>\n", "<|assistant|>\n"},             // GLM
    {"<|start_header_id|>", "", "<|start_header_id|>user<|end_header_id|>\n\n",    // Llama 3
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},                         //
    {"<start_of_turn>", "", "<start_of_turn>user\n", "\n<start_of_turn>model\n"},  // Gemma 2, 3
    {"<|turn>", "", "<|turn>user\n", "\n<|turn>model\n"},                          // Gemma 4
    {"<｜User｜>", "", "<｜User｜>", "<｜Assistant｜>"},                           // DeepSeek
    {"<|start|>", "", "<|start|>user<|message|>", "<|start|>assistant<|channel|>final<|message|>",
     "<|end|>"},                                                                                    // gpt-oss
    {"]~b]", "]~!b[", "]~b]user\n", "\n]~b]ai\n"},                                                  // MiniMax
    {"<|START_OF_TURN_TOKEN|>", "", "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",                        // Cohere
     "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"},                                                   //
    {"<|im_user|>", "", "<|im_user|>user<|im_middle|>", "<|im_assistant|>assistant<|im_middle|>"},  // Kimi
    {"[INST]", "", "[INST]", "[/INST]"},                                                            // Mistral
    {"<|user|>", "", "<|user|>\n", "\n<|assistant|>\n"},  // Phi-3, Zephyr, Granite
};

// The token that precedes a document in training: BOS where the model wants one. Other models separate documents with
// a token that they know as the end of a text, and that no text begins with in use.
std::optional<tokenizer::TokenId> separator(const tokenizer::Tokenizer& tokenizer) {
  for (const std::string_view name : {"<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>"}) {
    const std::vector<tokenizer::TokenId> ids = tokenizer.encode(name, false, true);
    if (ids.size() == 1) return ids[0];
  }
  return tokenizer.eos() ? tokenizer.eos() : tokenizer.bos();
}

}  // namespace

Beginnings::Beginnings(const gguf::Metadata& metadata, const tokenizer::Tokenizer& tokenizer, BeginningShares shares,
                       std::vector<tokenizer::TokenId> excerpts, int64_t excerpt_tokens)
    : shares_(shares), excerpts_(std::move(excerpts)), excerpt_tokens_(excerpt_tokens) {
  if (tokenizer.add_bos()) {
    document_.ids = {*tokenizer.bos()};
  } else if (const auto id = separator(tokenizer)) {
    document_.unseen = {*id};
  } else {
    fail("", "the model has no token that a text could begin with: neither BOS nor EOS");
  }
  const auto encode = [&](std::string_view text) { return tokenizer.encode(text, false, /*parse_special=*/true); };
  const std::string_view chat_template = metadata.string("tokenizer.chat_template", "");
  for (const ChatMarkup& markup : kMarkups) {
    if (chat_template.find(markup.probe) == std::string_view::npos) continue;
    if (tokenizer.add_bos()) chat_.ids = {*tokenizer.bos()};
    const std::vector<tokenizer::TokenId> opening = encode(std::string(markup.before) + std::string(markup.user));
    chat_.ids.insert(chat_.ids.end(), opening.begin(), opening.end());
    chat_.answer = encode(markup.answer);
    if (const auto end = encode(markup.turn_end); end.size() == 1) chat_.turn_end = end[0];
    break;
  }
  if (!has_chats()) shares_.documents += std::exchange(shares_.chats, 0);
  if (std::ssize(excerpts_) < excerpt_tokens_) shares_.documents += std::exchange(shares_.excerpts, 0);
}

Beginning Beginnings::draw(Random& random) const {
  const double u = random.uniform() * (shares_.documents + shares_.chats + shares_.excerpts);
  if (u < shares_.documents || shares_.chats + shares_.excerpts == 0) return document_;
  if (u < shares_.documents + shares_.chats || shares_.excerpts == 0) return chat_;
  Beginning excerpt = document_;
  const auto first = excerpts_.begin() + random.below(std::ssize(excerpts_) - excerpt_tokens_ + 1);
  excerpt.ids.insert(excerpt.ids.end(), first, first + excerpt_tokens_);
  return excerpt;
}

}  // namespace steelyard::generate
