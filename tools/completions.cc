#include "completions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace steelyard::tools {

namespace {

using Kind = ValueDescription::Kind;

// `text` as one word of a shell, in single quotes: `quote` is how a shell writes a single quote within them.
std::string quoted(const std::string& text, const std::string& quote) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') {
      result += quote;
    } else {
      result += c;
    }
  }
  return result + "'";
}

bool has_words(const ValueDescription& value) { return value.kind == Kind::kWords || value.kind == Kind::kListed; }

// ---- bash

constexpr const char* kBashHead = R"bash(# bash completion of steelyard. Made by steelyard generate-docs.

# Offers the words of "$1" that begin with "$2"; files where none does and there is a "$3".
_steelyard_words() {
  local IFS=$' \t\n'
  COMPREPLY=($(compgen -W "$1" -- "$2"))
  [ -z "${3-}" ] || compopt -o default
}

# The same for the last of several words with commas between them.
_steelyard_list() {
  local before=${2%"${2##*,}"} i
  _steelyard_words "$1" "${2##*,}"
  for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=$before${COMPREPLY[i]}; done
}

# What may follow the flag "$2" of the subcommand "$1", "$3" being what there is of it. Fails where it takes no value.
_steelyard_value() {
  case $1:$2 in
)bash";

constexpr const char* kBashTail = R"bash(
# The word at which the cursor is belongs to a flag before it, or is a flag, or an argument, which are counted. Bash
# hands over --flag=word as three words.
_steelyard() {
  local word=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD-1]} command='' n=0 i
  COMPREPLY=()
  if [ "$word" = = ]; then
    word=''
  elif [ "$flag" = = ] && ((COMP_CWORD > 2)); then
    flag=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    if [ -z "$command" ]; then
      command=${COMP_WORDS[i]}
    elif [[ ${COMP_WORDS[i]} != -* && ${COMP_WORDS[i]} != = && ${COMP_WORDS[i-1]} != = ]]; then
      (_steelyard_value "$command" "${COMP_WORDS[i-1]}" '') > /dev/null 2>&1 || ((++n))
    fi
  done
  if [ -z "$command" ]; then
    _steelyard_words "$(_steelyard_flags '') $_steelyard_commands" "$word"
  elif _steelyard_value "$command" "$flag" "$word"; then
    return 0
  elif [[ $word == -* ]]; then
    _steelyard_words "$(_steelyard_flags "$command")" "$word"
  else
    _steelyard_argument "$command" "$n" "$word"
  fi
}

complete -F _steelyard steelyard
)bash";

// The call that offers values for "$3".
std::string bash_offer(const ValueDescription& value, bool or_files) {
  switch (value.kind) {
    case Kind::kFile:
      return "compopt -o default";
    case Kind::kWords:
      return fmt::format("_steelyard_words '{}' \"$3\"{}", fmt::join(value.words, " "), or_files ? " files" : "");
    case Kind::kListed:
      return fmt::format("_steelyard_list '{}' \"$3\"", fmt::join(value.words, " "));
    default:
      return ":";
  }
}

std::string bash_names(const CommandDescription& command, const std::string& after) {
  std::vector<std::string> patterns;
  for (const std::string& name : command.names) patterns.push_back(name + after);
  return fmt::format("{}", fmt::join(patterns, "|"));
}

std::vector<std::string> all_flags(const CommandDescription& command) {
  std::vector<std::string> flags;
  for (const OptionDescription& option : command.options) {
    flags.insert(flags.end(), option.flags.begin(), option.flags.end());
  }
  return flags;
}

// ---- zsh

// Brackets and colons part the fields of a specification.
std::string zsh_field(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string zsh_action(const ValueDescription& value) {
  switch (value.kind) {
    case Kind::kFile:
      return "_files";
    case Kind::kWords:
      return fmt::format("({})", fmt::join(value.words, " "));
    case Kind::kListed:
      return fmt::format("_values -s , {} {}", value.name, fmt::join(value.words, " "));
    default:
      return " ";
  }
}

std::string zsh_value(const ValueDescription& value) {
  if (value.kind == Kind::kNone) return "";
  return fmt::format(":{}:{}", zsh_field(value.name), zsh_action(value));
}

std::string zsh_option(const OptionDescription& option) {
  // All spellings exclude each other, unless the option may be given again.
  const std::string excluded = option.repeats ? "*" : fmt::format("({})", fmt::join(option.flags, " "));
  std::string text;
  for (const std::string& flag : option.flags) {
    const std::string spelled = flag + (flag.starts_with("--") && option.value.kind != Kind::kNone ? "=" : "");
    text += fmt::format(" \\\n        {}", quoted(fmt::format("{}{}[{}]{}", excluded, spelled,
                                                              zsh_field(sentence(option)), zsh_value(option.value)),
                                                  "'\\''"));
  }
  return text;
}

std::string zsh_argument(const OptionDescription& argument, size_t position) {
  const std::string colon = argument.required || argument.repeats ? ":" : "::";
  const std::string fields = fmt::format("{}{}{}:{}", argument.repeats ? "*" : std::to_string(position), colon,
                                         zsh_field(argument.positional), zsh_action(argument.value));
  return fmt::format(" \\\n        {}", quoted(fields, "'\\''"));
}

// ---- fish

std::string fish_words(const ValueDescription& value) {
  switch (value.kind) {
    case Kind::kNone:
      return "";
    case Kind::kFile:
      return " -r -F";
    case Kind::kWords:
    case Kind::kListed:
      return fmt::format(" -x -a {}", quoted(fmt::format("{}", fmt::join(value.words, " ")), "\\'"));
    default:
      return " -x";
  }
}

std::string fish_option(const std::string& condition, const OptionDescription& option) {
  std::string line = "complete -c steelyard -n " + quoted(condition, "\\'");
  for (const std::string& flag : option.flags) {
    line += flag.starts_with("--") ? " -l " + flag.substr(2) : " -s " + flag.substr(1);
  }
  return line + fish_words(option.value) + " -d " + quoted(sentence(option), "\\'") + "\n";
}

}  // namespace

std::string bash_completion(const CommandDescription& program) {
  std::string text = kBashHead;
  for (const CommandDescription& command : program.sub_commands) {
    std::map<std::string, std::vector<std::string>> by_offer;  // what is offered -> flags that offer it
    for (const OptionDescription& option : command.options) {
      if (option.value.kind == Kind::kNone) continue;
      for (const std::string& flag : option.flags) {
        for (const std::string& name : command.names) {
          by_offer[bash_offer(option.value, /*or_files=*/false)].push_back(name + ":" + flag);
        }
      }
    }
    for (const auto& [offer, flags] : by_offer) text += fmt::format("    {}) {} ;;\n", fmt::join(flags, " | "), offer);
  }
  text += "    *) return 1 ;;\n  esac\n}\n\n# What may stand as argument number \"$2\" of the subcommand \"$1\".\n";
  text += "_steelyard_argument() {\n  case $1:$2 in\n";
  for (const CommandDescription& command : program.sub_commands) {
    const std::vector<OptionDescription> arguments = command.positionals();
    for (size_t i = 0; i < arguments.size(); ++i) {
      const std::string number = arguments[i].repeats ? ":*" : fmt::format(":{}", i);
      text += fmt::format("    {}) {} ;;\n", bash_names(command, number),
                          bash_offer(arguments[i].value, /*or_files=*/true));
    }
  }
  text += "  esac\n}\n\n# The flags of a subcommand.\n_steelyard_flags() {\n  case $1 in\n";
  text += fmt::format("    '') echo '{}' ;;\n", fmt::join(all_flags(program), " "));
  for (const CommandDescription& command : program.sub_commands) {
    text += fmt::format("    {}) echo '{}' ;;\n", bash_names(command, ""), fmt::join(all_flags(command), " "));
  }
  std::vector<std::string> names;
  for (const CommandDescription& command : program.sub_commands) names.push_back(command.name());
  return text + "  esac\n}\n\n" + fmt::format("_steelyard_commands='{}'\n", fmt::join(names, " ")) + kBashTail;
}

std::string zsh_completion(const CommandDescription& program) {
  std::string text = "#compdef steelyard\n# zsh completion of steelyard. Made by steelyard generate-docs.\n\n";
  text += "_steelyard() {\n  local curcontext=\"$curcontext\" state line\n  typeset -A opt_args\n  _arguments -C";
  for (const OptionDescription& option : program.options) text += zsh_option(option);
  text += " \\\n        '1: :->command' \\\n        '*:: :->arguments'\n  case $state in\n    command)\n";
  text += "      local -a commands=(\n";
  for (const CommandDescription& command : program.sub_commands) {
    text += fmt::format("        {}\n", quoted(fmt::format("{}:{}", command.name(), command.text), "'\\''"));
  }
  text += "      )\n      _describe command commands ;;\n    arguments)\n      case $words[1] in\n";
  for (const CommandDescription& command : program.sub_commands) {
    text += fmt::format("        {}) _arguments", bash_names(command, ""));
    for (const OptionDescription& option : command.options) text += zsh_option(option);
    size_t position = 0;
    for (const OptionDescription& argument : command.positionals()) text += zsh_argument(argument, ++position);
    text += " ;;\n";
  }
  return text + "      esac ;;\n  esac\n}\n\n_steelyard \"$@\"\n";
}

std::string fish_completion(const CommandDescription& program) {
  std::string text = "# fish completion of steelyard. Made by steelyard generate-docs.\n";
  for (const OptionDescription& option : program.options) text += fish_option("__fish_use_subcommand", option);
  for (const CommandDescription& command : program.sub_commands) {
    text += fmt::format("\ncomplete -c steelyard -f -n __fish_use_subcommand -a {} -d {}\n", command.name(),
                        quoted(command.text, "\\'"));
    const std::string condition = fmt::format("__fish_seen_subcommand_from {}", fmt::join(command.names, " "));
    for (const OptionDescription& option : command.options) {
      if (!option.flags.empty()) text += fish_option(condition, option);
    }
    for (const OptionDescription& argument : command.positionals()) {
      if (has_words(argument.value)) {
        text += fmt::format("complete -c steelyard -n {} -a {}\n", quoted(condition, "\\'"),
                            quoted(fmt::format("{}", fmt::join(argument.value.words, " ")), "\\'"));
      }
    }
  }
  return text;
}

}  // namespace steelyard::tools
