// See tokenizer_metadata.h.
#include "huggingface/tokenizer_metadata.h"

#include "base/error.h"

namespace steelyard::huggingface {

gguf::Metadata tokenizer_metadata(const std::string& folder, const std::string&) {
  fail(folder, "found no tokenizer.json and no tokenizer.model");
}

}  // namespace steelyard::huggingface
