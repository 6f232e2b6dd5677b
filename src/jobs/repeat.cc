#include "jobs/repeat.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/sha256.h"
#include "gguf/reader.h"
#include "jobs/calibration_text.h"
#include "jobs/source.h"

namespace steelyard::jobs {
namespace {

// Versions that encode the same bytes as this one. A commit that changes encoded bytes empties the list of all but its
// own; docs/quantize.md names them.
constexpr std::string_view kSameBytes[] = {"0.1.0", STEELYARD_VERSION};

std::string hash_of(const std::string& path) { return path.empty() ? "" : sha256_of_file(path); }

// An input of the recorded run, and what stands in for it now.
struct Input {
  std::string path, hash;     // empty: none is given
  std::string recorded_hash;  // empty: there was none
  std::string_view what;      // "imatrix"
  std::string_view made_with, made_without;
};

void check_input(const Input& input, const std::string& file) {
  if (input.hash == input.recorded_hash) return;
  if (input.hash.empty()) fail(file, "{}", input.made_with);
  if (input.recorded_hash.empty()) fail(file, "{}", input.made_without);
  fail(input.path, "is not the {} of {}: the SHA-256 is {}, expected {}", input.what, file, input.hash,
       printable(input.recorded_hash));
}

}  // namespace

Recipe recipe(const QuantizeOptions& options) {
  Recipe made{options.source.load(), options.shaping, {}, {}};
  made.provenance = {.version = STEELYARD_VERSION,
                     .plan = made.plan.text(),
                     .source_file = model_name(options.model),
                     .imatrix_sha256 = hash_of(options.imatrix),
                     .options = recorded_options(options.shaping)};
  return made;
}

Recipe repeat(const QuantizeOptions& options, const gguf::Source& source, std::optional<imatrix::Imatrix>& imatrix) {
  const gguf::Reader file(options.from, gguf::ReadMode::kHeader);
  if (quantize::is_tuned(file.metadata()))
    fail(options.from, "was tuned: what it was before can be made again, but not by way of this file");
  const quantize::Recorded recorded = quantize::read_provenance(file);
  const quantize::Provenance& provenance = recorded.provenance;
  if (std::ranges::find(kSameBytes, provenance.version) == std::end(kSameBytes)) {
    fail(options.from, "was written by version {}; version {} cannot reproduce it byte for byte",
         printable(provenance.version), STEELYARD_VERSION);
  }
  if (quantize::header_sha256(source) != recorded.source_header) {
    fail(options.model, "is not the source of {}: the header differs", options.from);
  }
  check_input({options.imatrix, hash_of(options.imatrix), provenance.imatrix_sha256, "imatrix",
               "was made with an imatrix: give it with --imatrix", "was made without an imatrix: leave out --imatrix"},
              options.from);
  if (options.calibrates() == provenance.calibration_sha256.empty()) {
    fail(options.from, "{}",
         !options.calibrates() ? "was calibrated on a text: give it with --calibrate"
                               : "was made without a calibration text: leave out --calibrate");
  }
  // Names of files are part of the result, and may have changed.
  if (imatrix) imatrix->source = file.metadata().string("quantize.imatrix.file");
  const ShapingOptions shaping = provenance.arguments.empty() ? read_options(provenance.options, options.from)
                                                              : read_arguments(provenance.arguments, options.from);
  return {plan::Plan::parse(provenance.plan, options.from), shaping, provenance, recorded};
}

void set_calibration(Recipe& recipe, const QuantizeOptions& options, const CalibrationText& text) {
  quantize::Provenance& provenance = recipe.provenance;
  if (recipe.expected) {
    return check_input({text.recorded(), text.sha256(), provenance.calibration_sha256, "calibration text", "", ""},
                       options.from);
  }
  recipe.shaping.chunks = text.n_chunks();
  provenance.options = recorded_options(recipe.shaping);
  provenance.calibration_sha256 = text.sha256();
  if (text.source().own || text.conversations()) provenance.calibration_text = text.recorded();
}

}  // namespace steelyard::jobs
