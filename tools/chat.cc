// steelyard chat: talk to a model through its chat template, or print what the template makes of messages.
#include "jobs/chat.h"

#include <fmt/format.h>
#include <unistd.h>

#include <optional>

#include "base/error.h"
#include "base/signals.h"
#include "base/terminal_text.h"
#include "command.h"
#include "options.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

struct CommandLine {
  jobs::ChatOptions options;
  std::string reasoning = "show";
  bool raw = false;
};

// Answers on a terminal: reasoning is dimmed. What the model says cannot send controls of its own unless asked to.
class Screen {
 public:
  Screen(bool shows_reasoning, bool raw)
      : shows_reasoning_(shows_reasoning), raw_(raw), is_terminal_(::isatty(STDOUT_FILENO) == 1) {
    if (is_terminal_) write_raw();  // dimming is ours; model text is made safe here
  }

  void show(const jobs::Progress& progress) {
    if (progress.stage == "reasoning") {
      if (!shows_reasoning_) return;
      dim(true);
      write(progress.data.get_ref<const std::string&>());
    } else if (progress.stage == "text") {
      dim(false);
      write(progress.data.get_ref<const std::string&>());
    } else if (progress.stage == "ending") {
      dim(false);
      end_line();
    } else if (progress.stage == "note") {
      fmt::print(stderr, "{}\n", printable(progress.data.get_ref<const std::string&>(), 1000));
    }
    std::fflush(stdout);
  }

 private:
  void write(const std::string& text) {
    write_out(is_terminal_ && !raw_ ? safe_.push(text) : text);
    in_line_ = true;
  }
  void end_line() {
    write_out((is_terminal_ && !raw_ ? safe_.finish() : "") + "\n");
    in_line_ = false;
  }
  void dim(bool on) {
    if (dimmed_ == on) return;
    if (!on && in_line_) write_out("\n\n");
    if (is_terminal_) write_out(on ? "\x1b[2m" : "\x1b[0m");
    dimmed_ = on;
  }

  const bool shows_reasoning_, raw_, is_terminal_;
  TerminalText safe_;
  bool dimmed_ = false, in_line_ = false;
};

void run(const CommandLine& line) {
  if (!line.options.render.empty()) {
    write_out(jobs::render_chat(line.options));
    return;
  }
  if (line.options.model.model.empty()) fail("", "--model is required");
  Screen screen(line.reasoning == "show", line.raw);
  std::optional<InterruptNotice> notice;
  const auto next_line = [&] {
    notice.reset();  // while the user types, Ctrl-C ends the program as it always does
    auto text = read_line();
    notice.emplace();
    return text;
  };
  jobs::chat(
      line.options, [&](const jobs::Progress& progress) { screen.show(progress); }, next_line,
      InterruptNotice::interrupted);
}

}  // namespace

void add_chat(CLI::App& app) {
  auto* command = app.add_subcommand("chat", "talk to a model through its chat template");
  auto line = std::make_shared<CommandLine>();
  jobs::ChatOptions& options = line->options;
  add_options(*command, options.model);
  command->get_option("--model")->required(false);
  command->add_option("--render", options.render,
                      "print what the template makes of this JSON, an object with \"messages\", and end");
  command->add_option("--chat-template", options.chat_template, "file with a template, instead of the model's");
  command->add_option("--chat-template-kwargs", options.chat_template_kwargs,
                      "JSON of an object: what else the template sees, such as {\"enable_thinking\": false}");
  command->add_option("--date", options.date, "what the time is for templates: 2026-01-02T03:04:05");
  command->add_option("--system", options.system, "the system's message");
  command->add_option("-n,--n-predict", options.n_predict, "maximum number of tokens of an answer; -1: no limit")
      ->capture_default_str();
  command->add_option("-c,--ctx-size", options.ctx_size, "context size in tokens; default: 4096");
  command->add_option("-b,--batch-size", options.batch_size, "prompt tokens per batch")->capture_default_str();
  add_options(*command, options.sampling);
  command->add_option("-s,--seed", options.seed, "random seed; -1: another one each time")->capture_default_str();
  command->add_option("--reasoning", line->reasoning, "show what the model reasons, dimmed, or hide it")
      ->check(CLI::IsMember({"show", "hide"}))
      ->capture_default_str();
  command->add_flag("--raw", line->raw, "on a terminal, too, print what the model says byte for byte");
  command->callback([line] { run(*line); });
}

}  // namespace steelyard::tools
