// A model's chat template: makes of messages the text that the model continues, as the Hugging Face library does.
// docs/chat.md says what a template sees. Templates are foreign code, and what they do stays in a process of its own
// (renderer.h); texts of messages and tools are foreign, too, and never become control tokens (marks.h).
//
// One Template may be used from several threads at once; they take turns. Called by jobs/chat.cc and whoever else talks
// to a model.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "chat/json.h"
#include "chat/rendered.h"
#include "chat/renderer.h"
#include "gguf/metadata.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::chat {

/// The text of a template, and where it comes from.
struct TemplateSource {
  std::string where;     ///< "model.gguf: tokenizer.chat_template", or a file; for messages
  std::string text;      ///< Jinja
  std::string tool_use;  ///< taken instead where tools are given; empty: none

  /// Of a model: tokenizer.chat_template, and tokenizer.chat_template.tool_use. Error when it has none.
  static TemplateSource of(const gguf::Metadata& metadata);
  static bool has(const gguf::Metadata& metadata);
  /// Error when it cannot be read or is no text.
  static TemplateSource load(const std::string& path);
};

struct TemplateOptions {
  RenderLimits limits;
  std::string now;  ///< what the time is, for templates that write the date: "2026-01-02T03:04:05"; empty: what it is
};

class Template {
 public:
  /// `tokenizer` has the control tokens, and BOS and EOS; it must outlive the template. Null: there are none, and the
  /// result is good for reading only.
  Template(TemplateSource source, const tokenizer::Tokenizer* tokenizer, TemplateOptions options = {});
  ~Template();

  /// The text for exactly this input: an object with `messages`, and with `tools`, `add_generation_prompt` and whatever
  /// else the template knows. bos_token and eos_token are added unless it has them. Error of one line where the
  /// template raises or is stopped, and where Jinja2 is not installed.
  Rendered render(const Json& input) const;

  /// The same for what OpenAI's clients send, and templates often do not expect: arguments of tool calls as text, null
  /// for content, a list of text parts for templates that want one text. Arguments that are the text of an object
  /// become one, content that is null becomes empty, and parts are joined by line ends, but only where the template
  /// does not take them as they are.
  Rendered render_request(const Json& input) const;

  const TemplateSource& source() const { return source_; }

 private:
  struct Parts;

  const TemplateSource source_;
  const std::unique_ptr<Parts> parts_;
};

/// What a template sees, as the Hugging Face library passes it. `tools`: null or empty: none. `kwargs`: further names,
/// such as enable_thinking. Error unless messages is a list, tools a list or null, and kwargs an object or null.
Json template_input(Json messages, Json tools = nullptr, const Json& kwargs = nullptr,
                    bool add_generation_prompt = true);

}  // namespace steelyard::chat
