#include "jobs/chat.h"

#include <algorithm>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/text_file.h"
#include "chat/answer_parser.h"
#include "chat/template.h"
#include "generate/generator.h"
#include "jobs/seeds.h"
#include "jobs/source.h"

namespace steelyard::jobs {
namespace {

constexpr int64_t kUsualContext = 4096;
constexpr const char* kHelp =
    "/system TEXT: another system message; /regen: another answer; /save FILE: the conversation as JSON; /exit";

Json parsed(const std::string& text, const std::string& where) {
  Json json = chat::parse_json(text);
  if (!json.is_object()) fail(where, "expected a JSON object");
  return json;
}

chat::TemplateSource source(const ChatOptions& options, const gguf::Metadata* metadata) {
  if (!options.shaped.chat_template.empty()) return chat::TemplateSource::load(options.shaped.chat_template);
  if (metadata == nullptr) fail("", "give a model with -m, or a template with --chat-template");
  return chat::TemplateSource::of(*metadata);
}

// One conversation with one model.
class Conversation {
 public:
  Conversation(const ChatOptions& options, const ProgressCallback& progress, std::function<bool()> interrupted)
      : options_(options),
        progress_(progress),
        interrupted_(std::move(interrupted)),
        seed_(chosen_seed(options.seed, "--seed")),
        open_(options.model, options.ctx_size),
        tokenizer_(open_.reader().metadata()),
        template_(source(options, &open_.reader().metadata()), &tokenizer_, {.limits = {}, .now = options.shaped.date}),
        format_(chat::AnswerFormat::of(template_.source().text)) {
    if (!options.shaped.chat_template_kwargs.empty())
      kwargs_ = parsed(options.shaped.chat_template_kwargs, "--chat-template-kwargs");
    const int64_t most = open_.model().config().n_context;
    if (options.ctx_size > most) fail("", "a context of {} tokens exceeds the model's {}", options.ctx_size, most);
    result_.context = options.ctx_size > 0 ? options.ctx_size : std::min(most, kUsualContext);
    result_.seed = seed_;
    if (options.seed == kRandomSeed) report("seed", {{"seed", seed_}});
    set_system(options.shaped.system);
  }

  void set_system(const std::string& text) {
    if (!messages_.empty() && messages_[0].at("role") == "system") messages_.erase(0);
    if (!text.empty()) messages_.insert(messages_.begin(), Json{{"role", "system"}, {"content", text}});
  }

  // Whether the conversation goes on.
  bool take(const std::string& line) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string word = line.substr(0, space), rest = line.substr(std::min(space + 1, line.size()));
    if (word == "/exit") return false;
    if (word == "/system") {
      set_system(rest);
    } else if (word == "/regen") {
      if (messages_.empty() || messages_.back().at("role") != "assistant") {
        report("note", "there is no answer yet");
      } else {
        messages_.erase(messages_.size() - 1);
        answer();
      }
    } else if (word == "/save") {
      save(rest);
    } else if (line.starts_with('/')) {
      report("note", kHelp);
    } else if (!line.empty()) {
      ask(line, "a line of the chat");
    }
    return true;
  }

  // `what` names the text in an error.
  void ask(const std::string& text, const std::string& what) {
    check_text(text, what);
    messages_.push_back(Json{{"role", "user"}, {"content", text}});
    answer();
  }

  ChatResult result() {
    if (generator_) {
      result_.prompt = {generator_->prompt_timing().tokens, generator_->prompt_timing().seconds};
      result_.generation = {generator_->generation_timing().tokens, generator_->generation_timing().seconds};
    }
    result_.messages = json_text(messages_);
    return result_;
  }

 private:
  struct Interrupted {};

  void report(std::string_view stage, Json data) {
    if (progress_) progress_({.stage = stage, .data = std::move(data)});
  }

  // What is wrong with a file is a note: the conversation goes on.
  void save(const std::string& path) {
    if (path.empty()) return report("note", "/save FILE");
    try {
      write_file(path, json_text({{"messages", messages_}}, 2) + "\n");
      report("note", "saved");
    } catch (const Error& error) {
      report("note", error.what());
    }
  }

  // Gives the model a prompt, of which what its cache holds already is not computed again: many templates leave earlier
  // reasoning out, so that a prompt goes on from the middle of what there is.
  void prefill(const std::vector<tokenizer::TokenId>& ids) {
    if (std::ssize(ids) >= result_.context) {
      fail("", "a conversation of {} tokens fills the context of {}; -c N makes it larger", ids.size(),
           result_.context);
    }
    const uint64_t seed = static_cast<uint64_t>(seed_) + static_cast<uint64_t>(result_.answers);
    if (!generator_) {
      generate::SamplingOptions sampling = options_.sampling;
      sampling.seed = seed;
      generator_.emplace(open_.model(), tokenizer_,
                         generate::Generator::Options{.n_context = result_.context,
                                                      .batch = options_.batch_size,
                                                      .sampling = sampling,
                                                      .stops = options_.stop,
                                                      .decode = [this](tokenizer::TokenId id) {
                                                        return chat::piece_of(tokenizer_, format_, id);
                                                      }});
    }
    const auto n_held = static_cast<size_t>(generator_->restart(ids, seed));
    result_.reused += static_cast<int64_t>(n_held);
    generator_->append(std::span(ids).subspan(n_held));
  }

  void answer() {
    const chat::Rendered prompt = template_.render_request(chat::template_input(messages_, nullptr, kwargs_));
    prefill(tokenize(tokenizer_, prompt));
    chat::AnswerParser parser(format_, nullptr, prompt.text, static_cast<uint64_t>(seed_));
    chat::Answer whole;
    const auto show = [&](const std::vector<chat::Delta>& deltas) {
      whole.add(deltas);
      for (const chat::Delta& delta : deltas) {
        if (delta.kind == chat::Delta::Kind::kToolCall)
          report("call", {{"name", delta.call.name}, {"arguments", delta.call.arguments}});
        else
          report(delta.kind == chat::Delta::Kind::kReasoning ? "reasoning" : "text", delta.text);
      }
    };
    try {
      const int64_t most = options_.n_predict < 0 ? result_.context : options_.n_predict;
      result_.finish_reason = name(generator_->generate(most, [&](std::string_view piece) {
        show(parser.push(piece));
        if (interrupted_ && interrupted_()) throw Interrupted();
      }));
    } catch (const Interrupted&) {  // what it has said stays
      result_.finish_reason = "interrupted";
    }
    show(parser.finish());
    messages_.push_back(whole.message(format_.reasoning_field));
    result_.text = whole.content;
    ++result_.answers;
    report("ending", {{"finish_reason", result_.finish_reason}});
  }

  const ChatOptions& options_;
  const ProgressCallback& progress_;
  const std::function<bool()> interrupted_;
  const int64_t seed_;
  const OpenModel open_;
  const tokenizer::Tokenizer tokenizer_;
  const chat::Template template_;
  const chat::AnswerFormat format_;
  Json kwargs_;
  Json messages_ = Json::array();
  std::optional<generate::Generator> generator_;
  ChatResult result_;
};

}  // namespace

std::string render_chat(const ChatOptions& options) {
  const Json input = parsed(read_text_file(options.render), options.render);
  std::unique_ptr<const gguf::Source> reader;
  std::optional<tokenizer::Tokenizer> tokenizer;
  if (!options.model.model.empty()) {
    reader = open_source(options.model.model, gguf::ReadMode::kHeader);
    tokenizer.emplace(reader->metadata());
  }
  const chat::Template renders(source(options, reader ? &reader->metadata() : nullptr),
                               tokenizer ? &*tokenizer : nullptr, {.limits = {}, .now = options.shaped.date});
  Json all = input;
  if (!options.shaped.chat_template_kwargs.empty()) {
    for (const auto& [name, value] : parsed(options.shaped.chat_template_kwargs, "--chat-template-kwargs").items()) {
      all[name] = value;
    }
  }
  return renders.render(all).text;
}

ChatResult chat(const ChatOptions& options, const ProgressCallback& progress, const ReadLine& read_line,
                const std::function<bool()>& interrupted) {
  if (options.n_predict < 1 && options.n_predict != -1) fail("", "-n must be at least 1, or -1 for no limit");
  if (options.ctx_size < 0) fail("", "-c must be at least 1");
  if (options.batch_size < 1) fail("", "-b must be at least 1");
  check(options.sampling);
  Conversation conversation(options, progress, interrupted);
  if (!options.prompt.empty()) conversation.ask(options.prompt, "--prompt");
  if (read_line) {
    for (auto line = read_line(); line && conversation.take(*line);) line = read_line();
  }
  check_mapped_files_unchanged();
  return conversation.result();
}

}  // namespace steelyard::jobs
