#include "jobs/write.h"

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/sha256.h"
#include "jobs/outputs.h"

namespace steelyard::jobs {

WriteResult write(const WriteOptions& given, const ProgressCallback& progress) {
  WriteOptions options = given;
  options.writing = given.writing.chosen(!options.resume.resume.empty());
  options.resume.check();
  if (options.output_file.empty()) fail("", "--output-file is required");
  const std::vector<std::string> inputs = {options.model.model, options.writing.excerpts_of};
  check_output(options.output_file, inputs);
  if (!options.resume.resume.empty()) check_output(options.resume.resume, inputs, {options.output_file});
  const OpenModel open(options.model, options.ctx_size);
  const tokenizer::Tokenizer tokenizer(open.reader().metadata());
  if (options.chunks < 1) fail("", "--chunks: expected at least 1, found {}", options.chunks);
  if (options.parallel < 0) fail("", "--parallel: expected a number from 0, found {}", options.parallel);
  OwnText own(open, tokenizer, options.writing, options.ctx_size, {options.parallel, options.resume});
  own.write(options.chunks, progress);
  const std::string content = print(own.text(), options.chunks, tokenizer);
  write_file(options.output_file, content);
  own.take_progress().remove();
  return {options.output_file, sha256(content), own.figures()};
}

}  // namespace steelyard::jobs
