#include "documents.h"

#include <filesystem>
#include <memory>
#include <string>

#include "base/atomic_file.h"
#include "command_line.h"
#include "completions.h"
#include "manual.h"

namespace steelyard::tools {

namespace {

// The folders are those of /usr/share.
void write_documents(const CLI::App& app, const std::string& folder) {
  const CommandDescription program = describe(app);
  const auto write = [&](const std::string& name, const std::string& text) {
    const std::filesystem::path path = std::filesystem::path(folder) / name;
    std::filesystem::create_directories(path.parent_path());
    write_file(path, text);
  };
  write("man/man1/steelyard.1", program_page(program, STEELYARD_VERSION));
  for (const CommandDescription& command : program.sub_commands) {
    write("man/man1/steelyard-" + command.name() + ".1", command_page(program, command, STEELYARD_VERSION));
  }
  write("bash-completion/completions/steelyard", bash_completion(program));
  write("zsh/vendor-completions/_steelyard", zsh_completion(program));
  write("fish/vendor_completions.d/steelyard.fish", fish_completion(program));
}

}  // namespace

void add_generate_docs(CLI::App& app) {
  const auto folder = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("generate-docs", "write man pages and completions into a folder");
  command->group("");  // not for users: no help and no completion shows it
  command->add_option("folder", *folder, "laid out as /usr/share")->required();
  command->callback([&app, folder] { write_documents(app, *folder); });
}

}  // namespace steelyard::tools
