#include "manual.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace steelyard::tools {

namespace {

constexpr const char* kExamples = R"(.SH EXAMPLES
A preset that people know by name needs nothing but the model:
.PP
.RS 4
.EX
steelyard quantize model\-bf16.gguf model\-q4.gguf \-\-preset Q4_K_M
.EE
.RE
.PP
Importance first, then a plan, then what it cost:
.PP
.RS 4
.EX
steelyard imatrix \-m model\-bf16.gguf \-f text.txt \-o model.imatrix.gguf
steelyard plan model\-bf16.gguf \-\-plan model.plan
steelyard quantize model\-bf16.gguf model.gguf \-\-plan model.plan \e
  \-\-imatrix model.imatrix.gguf
steelyard perplexity \-m model\-bf16.gguf \-f other.txt \e
  \-\-kl\-divergence\-base base.kld
steelyard perplexity \-m model.gguf \-f other.txt \e
  \-\-kl\-divergence\-base base.kld \-\-kl\-divergence
.EE
.RE
)";

constexpr const char* kFiles = R"(.SH FILES
Both folders are found from where the program is.
.TP
.I ../share/steelyard/plans
Plans to use and to copy. The presets are in its folder
.IR presets .
.TP
.I ../share/steelyard/calibration
The default text for calibration, and the parts that it is made of.
)";

constexpr const char* kEnvironment = R"(.SH ENVIRONMENT
.TP
.B STEELYARD_PLANS
The folder of plans, instead of the one that comes with the program.
.TP
.B STEELYARD_ISA
The instruction set to use, instead of the widest that the processor has. The bytes of a quantized file do not depend on it.
.TP
.BR OMP_WAIT_POLICY ", " GOMP_SPINCOUNT
How threads wait for each other. Where neither is set, they wait actively for a short time only.
)";

constexpr const char* kExitStatus = R"(.SH EXIT STATUS
0 after success. 2 if a figure exceeds a limit of
.BR "perplexity \-\-fail\-above" :
the work is done, and one line on the standard error names the figure. Anything else is a failure, and one line on the standard error says which; no output file has been changed.
)";

std::string page_name(const CommandDescription& program, const CommandDescription& command) {
  return program.name() + "-" + command.name();
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string head(const std::string& name, const std::string& text, const std::string& version) {
  return fmt::format(
      ".\\\" Made by steelyard generate-docs.\n.TH {} 1 \"\" \"Steelyard {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n",
      troff(upper(name)), troff(version), troff(name), troff(text));
}

// "\fB\-m\fR, \fB\-\-model\fR \fIFILE\fR"
std::string heading(const OptionDescription& option) {
  std::string text;
  for (const std::string& flag : option.flags) {
    text += fmt::format("{}\\fB{}\\fR", text.empty() ? "" : ", ", troff(flag));
  }
  if (option.flags.empty()) text = fmt::format("\\fI{}\\fR", troff(option.positional));
  if (!option.flags.empty() && !option.value.name.empty()) text += fmt::format(" \\fI{}\\fR", troff(option.value.name));
  return text;
}

std::string entry(const OptionDescription& option) {
  const std::string text = sentence(option);
  return fmt::format(".TP\n{}\n{}{}\n", heading(option), troff(text), text.ends_with('.') ? "" : ".");
}

std::string synopsis(const CommandDescription& program, const CommandDescription& command) {
  std::string text =
      fmt::format(".SH SYNOPSIS\n\\fB{} {}\\fR [\\fIoptions\\fR]", program.name(), troff(command.name()));
  for (const OptionDescription& argument : command.positionals()) {
    const std::string name = fmt::format("\\fI{}\\fR{}", troff(argument.positional), argument.repeats ? "..." : "");
    text += argument.required ? " " + name : " [" + name + "]";
  }
  return text + "\n";
}

// Options under their headings: that of the parser's default group is OPTIONS.
std::string options(const CommandDescription& command) {
  std::vector<std::string> groups;
  for (const OptionDescription& option : command.options) {
    if (!option.flags.empty() && std::ranges::find(groups, option.group) == groups.end())
      groups.push_back(option.group);
  }
  std::string text;
  for (const std::string& group : groups) {
    text += fmt::format(".SH {}\n", troff(upper(group)));
    for (const OptionDescription& option : command.options) {
      if (!option.flags.empty() && option.group == group) text += entry(option);
    }
  }
  return text;
}

std::string references(const CommandDescription& program, const CommandDescription* self) {
  std::string text;
  const auto add = [&](const std::string& name) {
    text += fmt::format("{}.BR {} (1)", text.empty() ? "" : ",\n", troff(name));
  };
  if (self != nullptr) add(program.name());
  for (const CommandDescription& command : program.sub_commands) {
    if (self == nullptr || command.name() != self->name()) add(page_name(program, command));
  }
  return ".SH SEE ALSO\n" + text + "\n";
}

}  // namespace

std::string troff(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '\\':
        escaped += "\\e";
        break;
      case '-':
        escaped += "\\-";
        break;
      case '\'':
        escaped += "\\(aq";
        break;
      case '`':
        escaped += "\\(ga";
        break;
      case '^':
        escaped += "\\(ha";
        break;
      case '~':
        escaped += "\\(ti";
        break;
      case '\n':
        escaped += ' ';
        break;
      default:
        escaped += c;
    }
  }
  if (escaped.starts_with('.')) escaped.insert(0, "\\&");  // else it would be a request
  return escaped;
}

std::string program_page(const CommandDescription& program, const std::string& version) {
  std::string text = head(program.name(), "quantize GGUF models, unequally", version);
  text +=
      fmt::format(".SH SYNOPSIS\n\\fB{0}\\fR \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n", program.name());
  text += fmt::format(".SH DESCRIPTION\n{}\n", troff(program.text));
  text += ".PP\nFiles are ordinary GGUF files: llama.cpp loads what Steelyard writes, and the reverse.\n";
  text += ".SH COMMANDS\n";
  for (const CommandDescription& command : program.sub_commands) {
    text += fmt::format(".TP\n.BR {} (1)\n{}.\n", troff(page_name(program, command)), troff(command.text));
  }
  return text + options(program) + kExamples + kFiles + kEnvironment + kExitStatus + references(program, nullptr);
}

std::string command_page(const CommandDescription& program, const CommandDescription& command,
                         const std::string& version) {
  std::string text = head(page_name(program, command), command.text, version) + synopsis(program, command);
  const std::string first = command.text.substr(0, 1);
  text += fmt::format(".SH DESCRIPTION\n{}.\n", troff(upper(first) + command.text.substr(first.size())));
  std::string arguments;
  for (const OptionDescription& argument : command.positionals()) {
    OptionDescription bare = argument;
    bare.flags.clear();
    arguments += entry(bare);
  }
  if (!arguments.empty()) text += ".SH ARGUMENTS\n" + arguments;
  return text + options(command) + kExitStatus + references(program, &command);
}

}  // namespace steelyard::tools
