// A model's own text: written in many chunks at a time, continued after an interruption.
#pragma once

#include <string>

#include "base/resume_file.h"
#include "jobs/model_options.h"
#include "jobs/progress.h"
#include "jobs/saved_text.h"
#include "jobs/text_options.h"

namespace steelyard::jobs {

/// What shapes a text that a model writes. docs/calibration.md has the measurements behind the defaults.
struct WritingOptions {
  int64_t seed = 0;         ///< of a job -1, too: another one each time (seeds.h)
  double temp = 1;          ///< 1: the model's own distribution
  double top_p = 1;         ///< 1: nothing is cut off
  double chats = 0.75;      ///< share of texts that begin with the markup of a chat, where the model has it
  double excerpts = 0;      ///< share of texts that begin with an excerpt of `excerpts_of`
  std::string excerpts_of;  ///< text file; empty: calibration/default.txt, which comes with the program

  /// For a run: its seed is drawn where that is asked for (chosen_seed). Error for a text of excerpts without any.
  WritingOptions chosen(bool goes_on) const;
  /// Error for values out of range.
  void check() const;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("seed", self.seed);
    visit("temp", self.temp);
    visit("top_p", self.top_p);
    visit("chats", self.chats);
    visit("excerpts", self.excerpts);
    visit("excerpts_of", self.excerpts_of);
  }
};

/// What came of it.
struct WritingFigures {
  int64_t n_chunks = 0, n_tokens = 0;
  int64_t n_texts = 0, n_ended = 0, n_looped = 0;  ///< texts, those that the model ended, those cut because they looped
  int64_t n_dropped = 0;                           ///< tokens of loops, which are no part of the text
  int64_t resumed_chunks = 0;                      ///< by an earlier run
  int64_t parallel = 0;
  double seconds = 0;  ///< of this run

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("n_chunks", self.n_chunks);
    visit("n_tokens", self.n_tokens);
    visit("n_texts", self.n_texts);
    visit("n_ended", self.n_ended);
    visit("n_looped", self.n_looped);
    visit("n_dropped", self.n_dropped);
    visit("resumed_chunks", self.resumed_chunks);
    visit("parallel", self.parallel);
    visit("seconds", self.seconds);
  }
};

/// The file of a run's progress. path: empty keeps none. `identity` identifies the run.
ResumeFile open_written_chunks(const std::string& path, const std::string& identity);
/// What an interrupted run has written, chunks of n_ctx tokens; none where none was saved. Error when the file is
/// damaged or of another run.
std::vector<generate::WrittenChunk> load_written_chunks(const ResumeFile& file, ResumeFile::Unusable unusable,
                                                        int64_t n_ctx);

class OwnText {
 public:
  /// How a text is made; its bytes do not depend on that.
  struct Run {
    int64_t parallel = 0;  ///< chunks at a time; 0: as many as pay off and fit
    ResumeOptions resume;
    bool replace = false;  ///< the progress of a run with another model or other options, instead of refusing it
    uint64_t memory = 0;   ///< bytes to use; 0: most of what there is. Decides `parallel` where that is 0
  };

  /// model and tokenizer outlive it. Error for options out of range, for chunks longer than the model's context, and
  /// for progress of another run.
  OwnText(const OpenModel& model, const tokenizer::Tokenizer& tokenizer, const WritingOptions& options, int64_t n_ctx,
          Run run);

  /// Writes until there are n_chunks, and saves them as progress. Progress: stage "write", `done` of `total` chunks.
  void write(int64_t n_chunks, const ProgressCallback& progress);

  /// The file of progress, to be removed by whoever has the text in safety.
  ResumeFile take_progress() { return std::move(progress_); }

  /// What is written; may have more chunks than were asked for, by an earlier run.
  const SavedText& text() const { return text_; }
  /// Of the chunks that were asked for last.
  const WritingFigures& figures() const { return figures_; }

 private:
  void write_missing(int64_t n_chunks, const ProgressCallback& progress);
  void count(int64_t n_chunks);

  const OpenModel& model_;
  const tokenizer::Tokenizer& tokenizer_;
  std::string excerpts_;  // a text
  generate::Beginnings beginnings_;
  generate::WriterOptions options_;
  Run run_;
  ResumeFile progress_;
  SavedText text_;
  int64_t n_resumed_ = 0;  // chunks
  WritingFigures figures_;
};

}  // namespace steelyard::jobs
