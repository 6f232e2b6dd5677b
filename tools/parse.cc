#include "parse.h"

#include <algorithm>

#include "base/error.h"
#include "llama_flags.h"
#include "suggest.h"

namespace steelyard::tools {
namespace {

constexpr size_t kMaxWord = 200;  // bytes of an unknown word, printed

// Lists take all values; what has one value takes the last.
void let_the_last_count(CLI::App& app) {
  for (CLI::Option* option : app.get_options({})) {
    if (option->get_expected_max() <= 1) option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  for (CLI::App* command : app.get_subcommands({})) let_the_last_count(*command);
}

std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
  return flags;
}

std::vector<std::string> names_of_subcommands(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_group().empty()) names.push_back(command->get_name());  // others are not for users
  }
  return names;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known, const std::string& otherwise) {
  const std::string nearest = nearest_word(word, known);
  return nearest.empty() ? otherwise : "; did you mean " + nearest + "?";
}

// Error for the first word that the parser had no use for, if there is one.
void refuse_unknown(const CLI::App& app) {
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  if (unknown.empty()) return;
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  const std::string help = "; " + app.get_name() + (chosen.empty() ? "" : " " + command.get_name()) + " --help";
  const auto is_flag = [](const std::string& word) { return word.starts_with('-') && word != "-" && word != "--"; };
  // A flag that takes a value leaves it over, too, so that the flag is what to name.
  if (const auto found = std::ranges::find_if(unknown, is_flag); found != unknown.end()) {
    const std::string flag = found->substr(0, found->find('='));
    fail("", "unknown option {}{}", printable(flag, kMaxWord),
         suggestion(flag, flags_of(command), help + " lists the options"));
  }
  const std::string& word = unknown.front();
  if (!chosen.empty()) fail("", "unexpected argument \"{}\"", printable(word, kMaxWord));
  fail("", "unknown subcommand \"{}\"{}", printable(word, kMaxWord),
       suggestion(word, names_of_subcommands(app), help + " lists them"));
}

}  // namespace

void parse(CLI::App& app, std::vector<std::string> arguments) {
  let_the_last_count(app);
  arguments = from_llama(std::move(arguments));
  std::ranges::reverse(arguments);  // as CLI11 wants them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::Success&) {  // --help, --version
    throw;
  } catch (const CLI::ParseError&) {
    refuse_unknown(app);
    throw;
  }
}

}  // namespace steelyard::tools
