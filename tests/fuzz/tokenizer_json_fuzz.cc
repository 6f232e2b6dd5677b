// Tokenizers of model folders. The first byte says whether what follows is a tokenizer.json or a tokenizer.model;
// behind a byte 0xFE, which neither UTF-8 nor a seed's messages have, follows tokenizer_config.json, and then
// config.json.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "fuzz/target.h"
#include "huggingface/tokenizer_metadata.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::huggingface {
namespace {

// A folder whose files are links to files in memory.
class Folder {
 public:
  explicit Folder(const std::string& tokenizer) {
    std::string pattern = (std::filesystem::temp_directory_path() / "steelyard-fuzz-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    for (const auto& [file, name] :
         {std::pair(&tokenizer_, tokenizer.c_str()), {&texts_, "tokenizer_config.json"}, {&config_, "config.json"}}) {
      std::filesystem::create_symlink(file->path(), path_ + "/" + name);
    }
  }
  ~Folder() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  void set(std::string_view input) {
    for (fuzz::MemoryFile* const file : {&tokenizer_, &texts_, &config_}) {
      const std::string_view part = input.substr(0, input.find('\xFE'));
      const std::string_view content = part.empty() ? "{}" : part;
      file->set(content.data(), content.size());
      input.remove_prefix(std::min(input.size(), part.size() + 1));
    }
  }

 private:
  std::string path_;
  fuzz::MemoryFile tokenizer_, texts_, config_;
};

void use(const std::string& folder, const std::string& pre) {
  const gguf::Metadata metadata = tokenizer_metadata(folder, pre);
  fuzz::g_sink = metadata.entries().size();
  // What is written must be a file's metadata, but need not be a vocabulary that the runtime takes.
  fuzz::allow_errors([&] {
    const tokenizer::Tokenizer tokenizer(metadata);
    const auto ids = tokenizer.encode("Hello world, it's 2026! \xe4\xbd\xa0 <s>\n\n  x", true, true);
    fuzz::g_sink = tokenizer.decode(ids, true).size();
  });
}

}  // namespace
}  // namespace steelyard::huggingface

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  if (size == 0) return 0;
  static huggingface::Folder json("tokenizer.json"), model("tokenizer.model");
  huggingface::Folder& folder = data[0] % 2 == 0 ? json : model;
  folder.set(fuzz::as_text(data, size).substr(1));
  fuzz::allow_errors([&] { huggingface::use(folder.path(), data[0] & 2 ? "gpt-2" : ""); });
  return 0;
}
