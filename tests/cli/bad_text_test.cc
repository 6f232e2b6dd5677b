// Texts, token lists and base files that cannot be evaluated, given to perplexity, imatrix and run.
#include <cstring>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

class BadText : public FailureTest {
 protected:
  // Neither perplexity nor imatrix works on `path` in chunks of `n_ctx`.
  void expect_text_rejected(const std::string& path, const std::string& n_ctx, const std::string& reason) {
    expect_fails({"perplexity", "-m", llama_, "-f", path, "-c", n_ctx, "--kl-divergence-base", out_}, reason);
    expect_fails({"imatrix", "-m", llama_, "-f", path, "-c", n_ctx, "-o", out_}, reason);
  }
  void expect_tokens_rejected(const std::string& json, const std::string& reason) {
    expect_fails({"perplexity", "-m", llama_, "--tokens", file("tokens.json", json), "--dump-logits", out_}, reason);
  }
  // The base file `bytes` does not serve `model` at this context.
  void expect_base_rejected(const std::string& bytes, const std::string& reason, const std::string& n_ctx = "64") {
    expect_base_rejected(deepseek_, bytes, reason, n_ctx);
  }
  void expect_base_rejected(const std::string& model, const std::string& bytes, const std::string& reason,
                            const std::string& n_ctx) {
    const std::string path = file("base.bin", bytes);
    expect_fails({"perplexity", "-m", model, "-f", text_, "-c", n_ctx, "--chunks", "16", "--kl-divergence-base", path,
                  "--kl-divergence"},
                 reason);
  }
};

TEST_F(BadText, TooShort) {
  expect_text_rejected(file("short.txt", "a few words"), "64", "expected at least two contexts of 64");
  expect_text_rejected(file("empty.txt", ""), "64", "0 tokens are too few");
  expect_text_rejected(file("newline.txt", "\n"), "64", "0 tokens are too few");
  expect_text_rejected(text_, "1000", "expected at least two contexts of 1000");
  expect_text_rejected(text_, "4611686018427387904", "too few");
}

TEST_F(BadText, NotThere) {
  expect_text_rejected(folder_ / "absent.txt", "64", "absent.txt: cannot open");
  expect_text_rejected(folder_ / "", "64", "not a regular file");
  expect_fails({"perplexity", "-m", llama_}, "no text given");
  expect_fails({"imatrix", "-m", llama_, "-o", out_}, "");
  expect_fails({"imatrix", "-f", text_, "-o", out_}, "no model given: -m");
}

TEST_F(BadText, Context) {
  for (const char* n_ctx : {"0", "-1", "3", "-9223372036854775808"}) expect_text_rejected(text_, n_ctx, "is too short");
  expect_text_rejected(text_, "99999999999999999999", "too few");
  for (const char* n_ctx : {"many", "1e3"}) expect_text_rejected(text_, n_ctx, "--ctx-size");
}

// A text that a model has written and saved, to imatrix and quantize; to perplexity it is text like any other.
TEST_F(BadText, SavedText) {
  const std::string path = folder_ / "own.text";
  ASSERT_EQ(run({"write", "-m", llama_, "-c", "32", "--chunks", "2", "-o", path}).exit_code, 0);
  const std::string content = read_text(path);
  const auto rejected = [&](const std::string& changed, const std::string& reason) {
    file("own.text", changed);
    expect_fails({"imatrix", "-m", llama_, "-f", path, "-o", out_}, reason);
    expect_fails({"quantize", llama_, out_, "Q8_0", "--calibrate", path}, reason);
  };
  rejected(content.substr(0, content.size() - 1), "own.text: its last line is cut off");
  rejected(content.substr(0, content.rfind('\n', content.size() - 2) + 1), "own.text: has 1 chunks, expected 2");
  rejected(content + "{}\n", "own.text: line 4 has 0 ids, expected 32");
  rejected(content + "[" + std::string(200000, '[') + "\n", "own.text: line 4 is not JSON");
  std::string changed = content;
  const size_t first = content.find("\"ids\":[") + 7;
  rejected(changed.replace(first, content.find(',', first) - first, "99999"), "own.text: line 2: token 99999 exceeds");
  file("own.text", content);
  expect_fails({"imatrix", "-m", std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf", "-f",
                path, "-o", out_},
               "own.text: was written by a model with another vocabulary");
  expect_fails({"imatrix", "-m", llama_, "-f", path, "--from-chunk", "2", "-o", out_}, "own.text: has no chunks");
}

TEST_F(BadText, TokenLists) {
  expect_tokens_rejected("", "expected a JSON array of token ids");
  expect_tokens_rejected("[1, 2", "expected a JSON array of token ids");
  expect_tokens_rejected("not json", "expected a JSON array of token ids");
  expect_tokens_rejected("{\"ids\": [1]}", "expected a JSON array of token ids");
  expect_tokens_rejected("[]", "expected a JSON array of token ids");
  expect_tokens_rejected("[1, \"two\"]", "element 1 is not a token id");
  expect_tokens_rejected("[1, 2.5]", "element 1 is not a token id");
  expect_tokens_rejected("[-1]", "element 0 is not a token id");
  expect_tokens_rejected("[99999999999999999999]", "element 0 is not a token id");
  expect_tokens_rejected("[1, 272]", "token 272 is beyond the vocabulary of 272");
  expect_tokens_rejected("[" + std::string(200000, '[') + std::string(200000, ']') + "]",
                         "expected a JSON array of token ids");
  expect_fails({"perplexity", "-m", llama_, "--tokens", folder_ / "absent.json"}, "cannot open");
  expect_fails({"perplexity", "-m", llama_, "--tokens", folder_ / "absent.json", "-f", text_},
               "--file and --tokens cannot be combined");
  expect_fails({"perplexity", "-m", llama_, "-f", text_, "--dump-logits", out_}, "needs --tokens");
}

TEST_F(BadText, BaseFiles) {
  const std::string base = read_text(golden("imatrix/deepseek2/kld_base_f32.bin"));
  const auto with = [&](size_t at, int32_t value) {
    std::string bytes = base;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    return bytes;
  };
  expect_base_rejected("", "is not a file of base log-probabilities");
  expect_base_rejected("_logits_", "is not a file of base log-probabilities");
  expect_base_rejected(read_text(llama_), "is not a file of base log-probabilities");
  expect_base_rejected(base.substr(0, base.size() - 1), "truncated");
  expect_base_rejected(base.substr(0, 500), "truncated");
  expect_base_rejected(base, "was made with context 64, not 32", "32");
  expect_base_rejected(with(12, 271), "was made with a vocabulary of 271, the model has 272");
  expect_base_rejected(with(20, 5), "was made with another text or tokenizer");
  expect_base_rejected(llama_, base, "was made with another text or tokenizer", "64");
  for (const size_t at : {8u, 12u, 16u}) {
    for (const int32_t value : {0, -1, INT32_MIN, INT32_MAX}) expect_base_rejected(with(at, value), "base.bin");
  }
  expect_fails({"perplexity", "-m", deepseek_, "-f", text_, "-c", "64", "--kl-divergence"},
               "needs --kl-divergence-base");
  expect_fails({"perplexity", "-m", deepseek_, "-f", text_, "-c", "64", "--kl-divergence", "--kl-divergence-base",
                folder_ / "absent.bin"},
               "cannot open");
}

// A base whose context asks for far more memory than its length justifies, used as the text itself.
TEST_F(BadText, BaseAsText) {
  std::string base = read_text(golden("imatrix/deepseek2/kld_base_f32.bin"));
  const int32_t one = 1;
  std::memcpy(base.data() + 16, &one, sizeof(one));
  expect_fails({"perplexity", "-m", deepseek_, "--kl-divergence", "--kl-divergence-base", file("base.bin", base)},
               "has a single chunk");
}

// Two models of one vocabulary, of which only the base's begins chunks with BOS.
TEST_F(BadText, BaseOfAModelWithAnotherBeginning) {
  const std::string base = folder_ / "base.bin";
  const CommandResult written =
      run({"perplexity", "-m", deepseek_, "-f", text_, "-c", "64", "--chunks", "2", "--kl-divergence-base", base});
  ASSERT_EQ(written.exit_code, 0) << written.err;
  expect_fails({"perplexity", "-m", llama_, "--kl-divergence", "--kl-divergence-base", base},
               "was made with a model of another vocabulary or BOS");
}

TEST_F(BadText, Prompts) {
  expect_fails({"run", "-m", llama_, "-p", "", "-n", "2"}, "the prompt is empty");
  expect_fails({"run", "-m", llama_, "-p", std::string(1000, 'z'), "-n", "2"}, "fills the context of 256");
  expect_fails({"run", "-m", llama_, "-p", "a", "-n", "0"}, "-n must be at least 1");
  expect_fails({"run", "-m", llama_, "-p", "a", "-n", "-5"}, "-n must be at least 1");
  expect_fails({"run", "-m", llama_, "-p", "a", "-n", "many"}, "--n-predict");
}

// Every command that takes text says which encoding it found.
TEST_F(BadText, Encodings) {
  const std::string latin = file("latin.txt", read_text(text_) + "caf\xE9 au lait\n");
  std::string wide = "\xFF\xFE";
  for (const char c : read_text(text_)) wide += c, wide += '\0';
  const std::string utf16 = file("wide.txt", wide), binary = llama_;
  for (const auto& [path, reason] : std::vector<std::pair<std::string, std::string>>{
           {latin, "is not valid UTF-8"}, {utf16, "is text in UTF-16LE"}, {binary, "is a GGUF file"}}) {
    expect_text_rejected(path, "64", reason);
    expect_fails({"run", "-m", llama_, "-f", path, "-n", "2"}, reason);
    expect_fails({"quantize", llama_, out_, "Q8_0", "--calibrate", path, "-c", "32"}, reason);
    expect_fails({"search", llama_, "-o", folder_ / "found.plan", "-f", path, "--bpw", "6", "-c", "32"}, reason);
    expect_fails({"tune", llama_, "-o", out_, "--teacher", llama_, "-f", path, "-c", "32"}, reason);
    expect_fails(
        {"write", "-m", llama_, "-o", out_, "-c", "32", "--chats", "0.5", "--excerpts", "0.2", "--excerpts-of", path},
        reason);
    for (const char* tasks : {"--hellaswag", "--winogrande"})
      expect_fails({"perplexity", "-m", llama_, "-f", path, tasks}, reason);
    expect_fails({"perplexity", "-m", llama_, "--tokens", path}, reason);
    expect_fails({"plan", llama_, "--plan", path}, reason);
    expect_fails({"plan", llama_, "Q8_0", "--tensor-type-file", path}, reason);
  }
  expect_fails({"run", "-m", llama_, "-p", "caf\xE9", "-n", "2"}, "--prompt: byte 3 (0xe9, line 1) is not valid UTF-8");
}

// Scores on tasks know nothing of bases, chunks and progress.
TEST_F(BadText, TasksTakeNoOptionsOfTexts) {
  const std::string tasks = golden("choice/hellaswag.txt");
  const std::vector<std::vector<std::string>> flags = {{"--kl-divergence-base", out_},
                                                       {"--self-check"},
                                                       {"--ppl-stride", "8"},
                                                       {"--chunks", "3"},
                                                       {"--chunk", "1"},
                                                       {"--parse-special"},
                                                       {"--order", "layer"},
                                                       {"--memory", "8GiB"},
                                                       {"--resume", folder_ / "progress"},
                                                       {"--kl-divergence-base-format", "llama"},
                                                       {"--save-every", "1"}};
  for (const std::vector<std::string>& flag : flags) {
    std::vector<std::string> words = {"perplexity", "-m", llama_, "-f", tasks, "--hellaswag"};
    words.insert(words.end(), flag.begin(), flag.end());
    expect_fails(words, flag[0] == "--chunk" ? "--from-chunk: no effect with --hellaswag"
                                             : flag[0] + ": no effect with --hellaswag");
  }
  expect_fails({"perplexity", "-m", llama_, "-f", text_, "--winogrande-tasks", "5"},
               "--winogrande-tasks: no effect without");
}

}  // namespace
}  // namespace steelyard::test
