// What `chat` and `run --chat` have in common: options, and what is shown on standard output as it comes: answers,
// their reasoning dimmed or hidden.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/terminal_text.h"
#include "jobs/progress.h"
#include "jobs/template_options.h"

namespace steelyard::tools {

/// --chat-template, --chat-template-kwargs, --date and --system.
void add_options(CLI::App& command, jobs::TemplateOptions& options);
/// --reasoning, "show" or "hide".
void add_reasoning(CLI::App& command, std::string& reasoning);

/// On a terminal reasoning is dimmed, and what the model says cannot send controls of its own unless `raw`. From the
/// constructor on, nothing else that goes to the terminal is filtered.
class ChatScreen {
 public:
  ChatScreen(bool shows_reasoning, bool raw);

  /// Progress of jobs/chat.h.
  void show(const jobs::Progress& progress);

 private:
  void write(const std::string& text);
  void end_line();
  void dim(bool on);

  const bool shows_reasoning_, raw_, is_terminal_;
  TerminalText safe_;
  bool dimmed_ = false, in_line_ = false;
};

}  // namespace steelyard::tools
