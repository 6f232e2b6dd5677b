// The chat templates of a folder: chat_template.jinja with additional_chat_templates/*.jinja, the field of
// tokenizer_config.json, or chat_template.json, in this order, which is that of transformers.
#pragma once

#include <optional>
#include <string>

#include "gguf/metadata.h"
#include "huggingface/json_file.h"

namespace steelyard::huggingface {

/// Adds tokenizer.chat_template, and for those with a name of their own tokenizer.chat_template.NAME and
/// tokenizer.chat_templates. Nothing where the folder has none. Error that names the file for what is no template.
void add_chat_templates(const std::string& folder, const std::optional<JsonFile>& tokenizer_config,
                        gguf::Metadata& metadata);

}  // namespace steelyard::huggingface
