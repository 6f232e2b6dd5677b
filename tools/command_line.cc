#include "command_line.h"

#include <algorithm>
#include <map>

#include "base/data_folder.h"
#include "formats/format.h"
#include "plan/plan_names.h"

namespace steelyard::tools {

namespace {

using Kind = ValueDescription::Kind;

std::vector<std::string> type_names() {
  std::vector<std::string> names;
  for (const formats::Format* format : formats::all_formats()) names.emplace_back(format->name);
  return names;
}

std::vector<std::string> preset_names() { return plan::preset_names(data_folder("plans")); }

// Values of options that the parser takes as any text and that are checked later.
ValueDescription known_value(const std::string& name) {
  const auto words = [](std::vector<std::string> list, const std::string& value_name) {
    return ValueDescription{Kind::kWords, value_name, std::move(list)};
  };
  if (name == "--preset") return words(preset_names(), "PRESET");
  if (name == "--token-embedding-type" || name == "--output-tensor-type") return words(type_names(), "TYPE");
  if (name == "--cache-type-k" || name == "--cache-type-v")
    return words({"f32", "f16", "bf16", "q8_0", "q4_0"}, "TYPE");
  if (name == "--precision") return words({"exact", "fast"}, "exact|fast");
  if (name == "--backend") return {Kind::kListed, "BACKEND", {"cpu", "cuda", "ref"}};
  if (name == "type") {
    std::vector<std::string> all = type_names();
    for (std::string& preset : preset_names()) all.push_back(std::move(preset));
    all.push_back("COPY");
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return words(std::move(all), "TYPE");
  }
  // Texts that are no names of files.
  static const std::vector<std::string> sizes = {"--vram", "--reserve",        "--memory",
                                                 "--slab", "--split-max-size", "--body-size"};
  if (std::ranges::find(sizes, name) != sizes.end()) return {Kind::kFree, "SIZE", {}};
  static const std::vector<std::string> free = {"--tensor-type",
                                                "--fix",
                                                "--include-weights",
                                                "--exclude-weights",
                                                "--override-kv",
                                                "--prune-layers",
                                                "--prompt",
                                                "--stop",
                                                "--fail-above",
                                                "--host",
                                                "--api-key",
                                                "--alias",
                                                "--system",
                                                "--date",
                                                "--chat-template-kwargs"};
  if (std::ranges::find(free, name) != free.end()) return {Kind::kFree, "TEXT", {}};
  return {};
}

// "TEXT:{fast,normal,best}" -> the words; nothing for other types.
std::vector<std::string> members(const std::string& type_name) {
  const size_t open = type_name.find('{'), close = type_name.rfind('}');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  return CLI::detail::split(type_name.substr(open + 1, close - open - 1), ',');
}

ValueDescription describe_value(const CLI::Option& option, const std::string& name) {
  if (option.get_items_expected_max() == 0) return {};  // a flag
  const std::string type_name = option.get_type_name();
  if (std::vector<std::string> words = members(type_name); !words.empty()) {
    return {Kind::kWords, CLI::detail::join(words, "|"), std::move(words)};
  }
  if (ValueDescription known = known_value(name); known.kind != Kind::kNone) return known;
  // "TEXT", "INT:INT in [0 - 1024]".
  if (type_name.starts_with("TEXT")) return {Kind::kFile, "FILE", {}};
  return {Kind::kFree, "N", {}};
}

OptionDescription describe_option(const CLI::Option& option) {
  OptionDescription described;
  for (const std::string& name : option.get_snames()) described.flags.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) described.flags.push_back("--" + name);
  if (option.get_positional()) described.positional = option.get_name(/*positional=*/true, /*all_options=*/false);
  described.text = option.get_description();
  described.group = option.get_group();
  described.required = option.get_required();
  described.repeats = option.get_expected_max() > 1;
  described.value = describe_value(option, described.flags.empty() ? described.positional : described.flags.back());
  if (described.value.kind != Kind::kNone) described.default_value = option.get_default_str();
  if (described.default_value.starts_with('[') && described.default_value.ends_with(']')) {  // of a list
    described.default_value = described.default_value.substr(1, described.default_value.size() - 2);
  }
  for (const CLI::Option* other : option.get_excludes()) described.excludes.push_back(other->get_name());
  return described;
}

}  // namespace

std::vector<OptionDescription> CommandDescription::positionals() const {
  std::vector<OptionDescription> found;
  for (const OptionDescription& option : options) {
    if (!option.positional.empty()) found.push_back(option);
  }
  return found;
}

CommandDescription describe(const CLI::App& app) {
  CommandDescription described;
  described.names = {app.get_name()};
  for (const std::string& alias : app.get_aliases()) described.names.push_back(alias);
  described.text = app.get_description();
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty()) described.options.push_back(describe_option(*option));
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_group().empty() && !command->get_name().empty()) {
      described.sub_commands.push_back(describe(*command));
    }
  }
  return described;
}

std::string sentence(const OptionDescription& option) {
  std::string text = option.text;
  if (text.ends_with('.') && !text.ends_with("...")) text.pop_back();
  if (!option.default_value.empty()) text += "; default: " + option.default_value;
  if (option.required) text += "; required";
  constexpr size_t kFew = 3;  // what excludes more is named by those that it excludes
  if (!option.excludes.empty() && option.excludes.size() <= kFew) {
    text += "; not with " + CLI::detail::join(option.excludes, ", ");
  }
  return text;
}

}  // namespace steelyard::tools
