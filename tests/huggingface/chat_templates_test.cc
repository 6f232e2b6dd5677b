// Chat templates from each of the places where a folder may have them.
#include "huggingface/chat_templates.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "base/error.h"
#include "huggingface/tokenizer_folder.h"
#include "support.h"

namespace steelyard::huggingface {
namespace {

using test::write_text;

struct Folder {
  test::TempFolder folder;

  void file(const std::string& name, const std::string& text) const { write_text(folder / name, text); }
  gguf::Metadata metadata() const {
    gguf::Metadata metadata;
    add_chat_templates(folder / "", JsonFile::find(folder / "", "tokenizer_config.json"), metadata);
    return metadata;
  }
};

constexpr const char* kKey = "tokenizer.chat_template";

TEST(ChatTemplates, TheFirstPlaceThatHasOneCounts) {
  const Folder folder;
  EXPECT_TRUE(folder.metadata().entries().empty());
  folder.file("chat_template.json", R"({"chat_template":"third"})");
  EXPECT_EQ(folder.metadata().string(kKey), "third");
  folder.file("tokenizer_config.json", R"({"chat_template":"second {{ \"é\" }}\n"})");
  EXPECT_EQ(folder.metadata().string(kKey), "second {{ \"é\" }}\n");
  folder.file("chat_template.jinja", "first\n");
  EXPECT_EQ(folder.metadata().string(kKey), "first\n");
}

TEST(ChatTemplates, SeveralHaveNames) {
  const Folder folder;
  folder.file("tokenizer_config.json",
              R"({"chat_template":[{"name":"default","template":"d"},{"name":"tool use","template":"t"},)"
              R"({"name":"rag","template":"r"}]})");
  const gguf::Metadata list = folder.metadata();
  EXPECT_EQ(list.string(kKey), "d");
  EXPECT_EQ(list.string("tokenizer.chat_template.tool_use"), "t");
  EXPECT_THAT(list.strings("tokenizer.chat_templates"), testing::ElementsAre("rag", "tool_use"));

  folder.file("chat_template.jinja", "first");
  std::filesystem::create_directory(folder.folder / "additional_chat_templates");
  folder.file("additional_chat_templates/tools.jinja", "with tools");
  folder.file("additional_chat_templates/notes.txt", "none");
  const gguf::Metadata files = folder.metadata();
  EXPECT_EQ(files.string(kKey), "first");
  EXPECT_EQ(files.string("tokenizer.chat_template.tools"), "with tools");
  EXPECT_THAT(files.strings("tokenizer.chat_templates"), testing::ElementsAre("tools"));
}

TEST(ChatTemplates, WhatIsNoneIsRefused) {
  for (const char* value :
       {"7", R"([{"name":"x"}])", R"([{"template":"x"}])", "[3]", R"([{"name":"","template":""}])"}) {
    const Folder folder;
    folder.file("tokenizer_config.json", std::string(R"({"chat_template":)") + value + "}");
    EXPECT_THROW(folder.metadata(), Error) << value;
  }
  const Folder folder;
  folder.file("chat_template.jinja", "\xff\xfe");
  EXPECT_THROW(folder.metadata(), Error);
}

}  // namespace
}  // namespace steelyard::huggingface
