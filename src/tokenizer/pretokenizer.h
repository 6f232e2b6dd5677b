// Splits text into the pieces within which BPE may merge. A pre-tokenizer (`tokenizer.ggml.pre`) is a list of regular
// expressions. Each is applied to the pieces of the one before: a match becomes a piece, and so does the text between
// two matches. Their table is in pretokenizer.cc, the rules are in docs/tokenizer.md.
//
// Invariant: the pieces, joined, are the text. Const objects may be used from several threads at once.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace steelyard::tokenizer {

/// What else the models of a pre-tokenizer have in common.
struct PretokenizerTraits {
  /// A piece that is a token as a whole becomes that token, whether or not merges lead to it.
  bool ignore_merges = false;
  /// Text starts with BOS when the model's metadata does not say.
  bool add_bos = false;
  /// The same even where the metadata says that it does not.
  bool insists_on_bos = false;
  /// The vocabulary is spelled like one of SentencePiece (sentencepiece_spelling.h) instead of the byte alphabet.
  bool sentencepiece = false;
  /// As `ignore_merges`, for pieces of line ends.
  bool whole_line_ends = false;
};

class Pretokenizer {
 public:
  /// `name` as in tokenizer.ggml.pre. An unknown one is an Error at `where` that lists the known names.
  Pretokenizer(std::string_view name, const std::string& where);

  /// The pieces of `text`, in order, as views into it. `text` must be valid UTF-8.
  std::vector<std::string_view> split(std::string_view text) const;

  const PretokenizerTraits& traits() const { return traits_; }

  /// All names, in the order of the table.
  static std::vector<std::string_view> names();

 private:
  struct FreePattern {
    void operator()(pcre2_real_code_8* pattern) const;
  };
  std::vector<std::unique_ptr<pcre2_real_code_8, FreePattern>> patterns_;
  PretokenizerTraits traits_;
};

}  // namespace steelyard::tokenizer
