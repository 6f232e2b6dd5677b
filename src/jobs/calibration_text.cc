#include "jobs/calibration_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/text_file.h"
#include "jobs/outputs.h"
#include "jobs/source.h"

namespace steelyard::jobs {
namespace {

constexpr std::string_view kSelf = "self";
constexpr int64_t kMostTokens = int64_t{1} << 40, kLeastContext = 4;

int64_t chunks_for(int64_t n_tokens, int64_t n_ctx) { return n_tokens / n_ctx + (n_tokens % n_ctx != 0); }

int64_t parse_tokens(std::string_view digits, const std::string& text) {
  int64_t n = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
  if (error != std::errc() || end != digits.data() + digits.size() || n < 1 || n > kMostTokens) {
    fail("", "{}: expected self:N with a number of tokens from 1 to {}, found \"{}\"", printable(text), kMostTokens,
         printable(digits));
  }
  return n;
}

// Two texts in turn, each in proportion to its length, so that any stretch of the result has a share of both.
tokenizer::Chunks dealt(const tokenizer::Chunks& a, const tokenizer::Chunks& b, const std::string& source) {
  std::vector<std::vector<tokenizer::TokenId>> ids;
  std::vector<std::vector<int64_t>> starts;
  int64_t next_a = 0, next_b = 0;
  while (next_a < a.count() || next_b < b.count()) {
    // Chunk k of n belongs at (k + 1/2) / n.
    const bool from_a = (2 * next_a + 1) * b.count() <= (2 * next_b + 1) * a.count();
    const tokenizer::Chunks& from = from_a ? a : b;
    const int64_t c = from_a ? next_a++ : next_b++;
    ids.push_back(from.input(c));
    starts.emplace_back(from.starts(c).begin(), from.starts(c).end());
  }
  return tokenizer::Chunks::written(std::move(ids), std::move(starts), a.n_ctx(), source);
}

}  // namespace

TextSource TextSource::parse(const std::string& text) {
  TextSource source;
  if (!text.starts_with(kSelf)) return {.file = text};
  std::string_view rest = std::string_view(text).substr(kSelf.size());
  if (!rest.empty() && rest[0] != ':' && rest[0] != '+') return {.file = text};
  source.own = true;
  if (const size_t plus = rest.find('+'); plus != std::string_view::npos) {
    source.file = rest.substr(plus + 1);
    if (source.file.empty()) fail("", "{}: expected the name of a file after the +", printable(text));
    rest = rest.substr(0, plus);
  }
  if (!rest.empty()) source.own_tokens = parse_tokens(rest.substr(1), text);
  return source;
}

void refuse_own_text(const TextSource& source) {
  if (source.own) fail("", "several processes need the text as a file: write it with steelyard write");
}

OptionNames TextSource::unused() const {
  OptionNames names;
  if (!own || file.empty() || own_tokens > 0) names.insert("own_share");
  if (file.empty()) names = names + OptionNames{"from_chunk", "parse_special"};
  return names;
}

std::string TextSource::recorded() const {
  std::string text(own ? kSelf : "");
  if (own_tokens > 0) text += fmt::format(":{}", own_tokens);
  if (own && !file.empty()) text += '+';
  return text + std::filesystem::path(file).filename().string();
}

CalibrationText::CalibrationText(CalibrationTextSettings settings) : settings_(std::move(settings)) {
  const TextSource& source = settings_.source;
  if (!(settings_.own_share >= 0 && settings_.own_share <= 1)) {
    fail("", "--own-share: expected 0 to 1, found {}", settings_.own_share);
  }
  if (settings_.from_chunk < 0) fail("", "--from-chunk: expected a number from 0, found {}", settings_.from_chunk);
  if (source.own && settings_.n_ctx < kLeastContext) {
    fail("", "-c {}: a text has at least {} tokens", settings_.n_ctx, kLeastContext);
  }
  settings_.writing.check();
  const bool about_writing =
      to_json(settings_.writing) != to_json(WritingOptions()) || to_json(settings_.files) != to_json(WriterFiles());
  if (!source.own && about_writing) {
    fail("", "--writer, --save-text, --seed and what else says how a model writes need a text called self");
  }
  const double share = settings_.conversations_share;
  if (!(share >= 0 && share <= 1)) fail("", "--conversations-share: expected 0 to 1, found {}", share);
  if (settings_.conversations.given() && share == 0) fail("", "--conversations-share 0 leaves no conversations");
  if (!source.file.empty()) content_ = read_text_file(source.file);
  if (settings_.conversations.given()) conversations_.emplace(settings_.conversations);
}

tokenizer::Chunks CalibrationText::read_file_chunks(const tokenizer::Tokenizer& tokenizer, int64_t n_chunks) const {
  const std::string& file = settings_.source.file;
  if (is_saved_text(content_)) {
    return parse_saved_text(content_, tokenizer, file).as_chunks(settings_.from_chunk, n_chunks, file);
  }
  std::vector<tokenizer::TokenId> ids = tokenize_text(tokenizer, content_, settings_.parse_special);
  leave_out(ids, settings_.from_chunk, settings_.n_ctx);
  return {std::move(ids), settings_.n_ctx, n_chunks, chunk_bos(tokenizer), file};
}

void CalibrationText::open_writer(const tokenizer::Tokenizer& tokenizer) {
  const auto& [writer, save_text] = settings_.files;
  ModelOptions model = settings_.model;
  if (!save_text.empty()) {
    check_output(save_text, {model.model, writer, settings_.source.file, settings_.writing.excerpts_of});
  }
  model.precision = "fast";
  if (!writer.empty()) model.model = writer;
  writer_.emplace(model, settings_.n_ctx);
  tokenizer_.emplace(writer_->reader().metadata());
  if (vocabulary_hash(*tokenizer_) != vocabulary_hash(tokenizer)) {
    fail(writer, "has another vocabulary than the model that it writes for");
  }
  own_.emplace(*writer_, *tokenizer_, settings_.writing, settings_.n_ctx,
               OwnText::Run{.resume = settings_.progress, .replace = settings_.replace, .memory = settings_.memory});
}

tokenizer::Chunks CalibrationText::write_chunks(int64_t n_chunks, const ProgressCallback& progress) {
  if (settings_.grows) {
    const int64_t n_written = std::ssize(own_->text().chunks);
    n_chunks = std::max(n_chunks, n_written / n_first_ * n_first_);
  }
  own_->write(n_chunks, progress);
  const std::string saved = print(own_->text(), n_chunks, *tokenizer_);
  sha256_ = steelyard::sha256(saved);
  if (!settings_.files.save_text.empty()) write_file(settings_.files.save_text, saved);
  return own_->text().as_chunks(0, n_chunks, "self");
}

void CalibrationText::read(const tokenizer::Tokenizer& tokenizer, const model::ModelConfig& config,
                           const ProgressCallback& progress) {
  const bool all = !settings_.source.own && (settings_.whole_file || is_saved_text(content_));
  if (settings_.n_chunks <= 0 && !all) settings_.n_chunks = enough_chunks(config, settings_.n_ctx);
  if (conversations_) return add_conversations(tokenizer, progress);
  read_text(tokenizer, settings_.n_chunks, progress);
  if (!settings_.source.own) settings_.n_chunks = chunks_->count();
}

// Of n_chunks in all a share is conversations, or as many as there are. Of a text that is used as a whole, n_chunks is
// what gives the same again.
void CalibrationText::add_conversations(const tokenizer::Tokenizer& tokenizer, const ProgressCallback& progress) {
  conversations_->read(open_source(settings_.model.model, gguf::ReadMode::kHeader)->metadata(), tokenizer);
  const std::optional<tokenizer::TokenId> bos = chunk_bos(tokenizer);
  const int64_t n_available = conversations_->packed(settings_.n_ctx, 0, bos).count();
  const double share = settings_.source.empty() ? 1 : settings_.conversations_share;
  const bool all = settings_.n_chunks <= 0;
  int64_t n_conversations = n_available;
  if (!all) {
    n_conversations =
        std::min(n_available, std::max<int64_t>(1, std::llround(share * static_cast<double>(settings_.n_chunks))));
  }
  if (share < 1 && (all || settings_.n_chunks > n_conversations)) {
    read_text(tokenizer, all ? 0 : settings_.n_chunks - n_conversations, progress);
    if (chunks_->n_ctx() != settings_.n_ctx) {
      fail(settings_.source.file, "has chunks of {} tokens, and conversations are cut into {}: -c {}", chunks_->n_ctx(),
           settings_.n_ctx, chunks_->n_ctx());
    }
    if (all) {
      const double per_text = share / (1 - share) * static_cast<double>(chunks_->count());
      n_conversations = std::min(n_available, std::max<int64_t>(1, std::llround(per_text)));
    }
  }
  if (all) settings_.n_chunks = n_conversations + (chunks_ ? chunks_->count() : 0);
  tokenizer::Chunks packed = conversations_->packed(settings_.n_ctx, n_conversations, bos);
  chunks_ = chunks_ ? dealt(*chunks_, packed, recorded()) : std::move(packed);
  n_first_ = chunks_->count();
  sha256_ = steelyard::sha256(sha256_ + "\n" + conversations_->sha256());
  conversation_figures_ = conversations_->figures();
  conversation_figures_->n_chunks = n_conversations;
  conversations_.reset();
}

void CalibrationText::read_text(const tokenizer::Tokenizer& tokenizer, int64_t n_chunks,
                                const ProgressCallback& progress) {
  const TextSource& source = settings_.source;
  if (!source.own) {
    chunks_ = read_file_chunks(tokenizer, n_chunks);
    n_first_ = chunks_->count();
    sha256_ = steelyard::sha256(content_);
    return;
  }
  const int64_t n_all = n_chunks;
  int64_t n_own = n_all;
  if (source.own_tokens > 0) {
    n_own = chunks_for(source.own_tokens, settings_.n_ctx);
  } else if (!source.file.empty()) {
    n_own = std::llround(settings_.own_share * static_cast<double>(n_all));
  }
  if (n_own == 0) fail("", "nothing is left for the model to write: --own-share {}", settings_.own_share);
  std::optional<tokenizer::Chunks> given;
  if (!source.file.empty()) {
    if (n_own >= n_all) {
      fail("", "nothing is left for {}: the model writes {} of {} chunks (--own-share, --chunks)", source.file, n_own,
           n_all);
    }
    given = read_file_chunks(tokenizer, n_all - n_own);
  }
  if (given && given->n_ctx() != settings_.n_ctx) {
    fail(source.file, "has chunks of {} tokens, and the model is to write {}: -c {}", given->n_ctx(), settings_.n_ctx,
         given->n_ctx());
  }
  n_first_ = n_own + (given ? given->count() : 0);
  open_writer(tokenizer);
  tokenizer::Chunks own = write_chunks(n_own, progress);
  chunks_ = given ? dealt(own, *given, "self+" + source.file) : std::move(own);
  if (!source.file.empty()) sha256_ = steelyard::sha256(sha256_ + "\n" + steelyard::sha256(content_));
}

void CalibrationText::write_more(const ProgressCallback& progress) {
  chunks_ = write_chunks(chunks_->count() + n_first_, progress);
}

std::string CalibrationText::recorded() const {
  std::string text = settings_.source.recorded();
  if (!settings_.conversations.given()) return text;
  if (!text.empty()) text += '+';
  return text + std::filesystem::path(settings_.conversations.conversations).filename().string();
}

void CalibrationText::finish() { take_progress().remove(); }

ResumeFile CalibrationText::take_progress() { return own_ ? own_->take_progress() : ResumeFile(); }

std::optional<WritingFigures> CalibrationText::writing() const {
  return own_ ? std::optional(own_->figures()) : std::nullopt;
}

std::optional<ConversationFigures> CalibrationText::conversations() const { return conversation_figures_; }

int64_t enough_chunks(const model::ModelConfig& config, int64_t n_ctx) {
  constexpr int64_t kTokens = 65'536, kTokensOfExpert = 3'000;
  int64_t n_tokens = kTokens;
  for (const model::LayerConfig& layer : config.layers) {
    const model::FfnConfig& ffn = layer.ffn;
    if (ffn.n_expert > 0 && ffn.n_used > 0) {
      n_tokens = std::max(n_tokens, (kTokensOfExpert * ffn.n_expert + ffn.n_used - 1) / ffn.n_used);
    }
  }
  return chunks_for(n_tokens, n_ctx);
}

}  // namespace steelyard::jobs
