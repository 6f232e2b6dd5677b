#include "chat_screen.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "progress_line.h"

namespace steelyard::tools {

void add_options(CLI::App& command, jobs::TemplateOptions& options) {
  command.add_option("--chat-template", options.chat_template, "file with a template, instead of the model's");
  command.add_option("--chat-template-kwargs", options.chat_template_kwargs,
                     "JSON of an object: what else the template sees, such as {\"enable_thinking\": false}");
  command.add_option("--date", options.date, "what the time is for templates: 2026-01-02T03:04:05");
  command.add_option("--system", options.system, "the system's message");
}

void add_reasoning(CLI::App& command, std::string& reasoning) {
  command.add_option("--reasoning", reasoning, "show what the model reasons, dimmed, or hide it")
      ->check(CLI::IsMember({"show", "hide"}))
      ->capture_default_str();
}

ChatScreen::ChatScreen(bool shows_reasoning, bool raw)
    : shows_reasoning_(shows_reasoning), raw_(raw), is_terminal_(::isatty(STDOUT_FILENO) == 1) {
  if (is_terminal_) write_raw();  // dimming is ours; model text is made safe here
}

void ChatScreen::show(const jobs::Progress& progress) {
  if (progress.stage == "reasoning") {
    if (!shows_reasoning_) return;
    dim(true);
    write(progress.data.get_ref<const std::string&>());
  } else if (progress.stage == "text") {
    dim(false);
    write(progress.data.get_ref<const std::string&>());
  } else if (progress.stage == "call") {
    dim(false);
    write(fmt::format("{}({})\n", progress.data.at("name").get<std::string>(),
                      progress.data.at("arguments").get<std::string>()));
  } else if (progress.stage == "ending") {
    dim(false);
    end_line();
  } else if (progress.stage == "note") {
    fmt::print(stderr, "{}\n", printable(progress.data.get_ref<const std::string&>(), 1000));
  }
  std::fflush(stdout);  // text is read as it comes
}

void ChatScreen::write(const std::string& text) {
  write_out(is_terminal_ && !raw_ ? safe_.push(text) : text);
  in_line_ = true;
}

void ChatScreen::end_line() {
  write_out((is_terminal_ && !raw_ ? safe_.finish() : "") + "\n");
  in_line_ = false;
}

void ChatScreen::dim(bool on) {
  if (dimmed_ == on) return;
  if (!on && in_line_) write_out("\n\n");
  if (is_terminal_) write_out(on ? "\x1b[2m" : "\x1b[0m");
  dimmed_ = on;
}

}  // namespace steelyard::tools
