#include "chat/renderer.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <csignal>

#include "chat/renderer_script.h"

namespace steelyard::chat {
namespace {

constexpr const char* kPython = "/usr/bin/python3";
constexpr const char* kInstall = "chat templates need Jinja2: install the Debian package python3-jinja2";
constexpr int64_t kStartSeconds = 20;  // of Python, on a machine with other work
constexpr size_t kMostOfMessage = 300;

// UTF-8, as the strings in it are, or an error.
std::string line_of(const Json& json, const std::string& where) {
  try {
    return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::strict) + "\n";
  } catch (const Json::exception&) {
    fail(where, "the conversation has text that is not UTF-8");
  }
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

std::string mebibytes(uint64_t bytes) { return fmt::format("{} MiB", bytes >> 20); }

}  // namespace

Renderer::Renderer(std::map<std::string, std::string> templates, std::string where, RenderLimits limits,
                   std::string now)
    : templates_(std::move(templates)), where_(std::move(where)), limits_(limits), now_(std::move(now)) {}

void Renderer::start() {
  // -I: nothing of the user's is imported; -S: no site configuration; -B: no byte code is written.
  child_ = std::make_unique<ChildProcess>(
      ChildProcess::Options{.arguments = {kPython, "-I", "-S", "-B", "-c", std::string(kRendererScript)},
                            .memory_bytes = limits_.memory_bytes});
  Json templates = Json::object();
  for (const auto& [name, source] : templates_) templates[name] = source;
  const Json ready = ask({{"templates", std::move(templates)},
                          {"cpu", limits_.seconds},
                          {"output", limits_.output_bytes},
                          {"filter", hex(confinement_filter())},
                          {"now", now_}});
  if (ready.contains("ready")) return;
  child_.reset();
  fail("", "{}", kInstall);
}

Json Renderer::ask(const Json& request) {
  const std::string line = line_of(request, where_);
  const auto deadline = ChildProcess::Clock::now() + std::chrono::seconds(3 * limits_.seconds + kStartSeconds);
  ChildProcess::Outcome outcome = child_->write(line, deadline);
  std::string answer;
  // Quoting makes up to six bytes of one.
  const size_t most = 6 * limits_.output_bytes + line.size() + (size_t{1} << 20);
  if (outcome == ChildProcess::Outcome::kDone) outcome = child_->read_line(answer, most, deadline);
  if (outcome != ChildProcess::Outcome::kDone) stopped(outcome);
  Json json = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) stopped(ChildProcess::Outcome::kEnded);
  return json;
}

void Renderer::stopped(ChildProcess::Outcome outcome) {
  // It may still be dying of what it did; one that merely closed its side is killed.
  const int status = child_->end();
  child_.reset();
  if (outcome == ChildProcess::Outcome::kTooLong) {
    fail(where_, "the template writes more than {}", mebibytes(limits_.output_bytes));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) fail("", "{}", kInstall);
  if (outcome == ChildProcess::Outcome::kTimeout || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)) {
    fail(where_, "the template does not end: stopped after {} s", limits_.seconds);
  }
  fail(where_, "the process that renders the template has died");
}

std::string Renderer::render(const std::string& name, const Json& input) {
  if (!child_) start();
  const Json answer = ask({{"name", name}, {"input", input}});
  if (const auto text = answer.find("text"); text != answer.end() && text->is_string()) return text->get<std::string>();
  const std::string kind = answer.value("kind", ""), message = answer.value("error", "");
  if (kind == "memory") {
    child_.reset();  // what is left of its memory may be in pieces
    fail(where_, "the template needs more than {} of memory", mebibytes(limits_.memory_bytes));
  }
  if (kind == "output") fail(where_, "the template writes more than {}", mebibytes(limits_.output_bytes));
  const std::string first = message.substr(0, message.find('\n'));
  throw TemplateError(where_, first.empty() ? printable(kind) : printable(first, kMostOfMessage));
}

}  // namespace steelyard::chat
