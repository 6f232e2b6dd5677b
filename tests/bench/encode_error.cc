// What each encoder loses and how fast it is, beside another encoder's figures for the same data.
//
//   encode_error REFERENCE.json DATA_FOLDER [fast|normal|best [TYPE...]]
//
// REFERENCE.json and DATA_FOLDER/<source>_{x,w}.f32 are golden/encode_error.json and golden/encode of the reference
// data. Columns: source; type; whether the encoder knew the importance; weighted and unweighted error relative to the
// reference encoder's, first under the format's own objective, then under importance alone; millions of weights per
// second of one thread.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "formats/format.h"

namespace steelyard {
namespace {

struct Errors {
  double weighted = 0.0;
  double unweighted = 0.0;
};

std::vector<float> read_floats(const std::string& path) {
  const std::string bytes = read_file(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

/// Relative squared errors of `y` against `x`, [rows * cols], with column weights `w`.
Errors relative_errors(const std::vector<float>& x, const std::vector<float>& y, const std::vector<float>& w) {
  Errors error, norm;
  for (size_t i = 0; i < x.size(); ++i) {
    const double column = w[i % w.size()];
    const double difference = double{x[i]} - double{y[i]};
    error.weighted += column * difference * difference;
    error.unweighted += difference * difference;
    norm.weighted += column * x[i] * x[i];
    norm.unweighted += double{x[i]} * x[i];
  }
  return {error.weighted / norm.weighted, error.unweighted / norm.unweighted};
}

/// Processor time of this thread: other work on the machine does not count.
double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// encode_row with importance itself as the objective.
void encode_row_plainly(const formats::Format& format, const float* x, const float* w, int64_t n_blocks,
                        formats::Effort effort, std::byte* out) {
  const formats::Encoder& encoder = *format.encoder;
  alignas(16) std::byte scales[formats::kMaxScalesBytes];
  uint32_t codes[formats::kMaxBlockLen];
  for (int64_t b = 0; b < n_blocks; ++b, x += format.block_len, w += format.block_len, out += format.block_bytes) {
    encoder.fit(x, w, effort, scales, codes);
    encoder.pack(scales, codes, out);
  }
}

void report(const nlohmann::json& source, const std::string& folder, formats::Effort effort,
            const std::vector<std::string>& types) {
  const std::string name = source.at("name").get<std::string>();
  const std::string stem = folder + "/" + name.substr(0, name.find('_'));
  const auto x = read_floats(stem + "_x.f32");
  const auto w = read_floats(stem + "_w.f32");
  const auto cols = static_cast<int64_t>(w.size());
  const auto rows = static_cast<int64_t>(x.size()) / cols;

  for (const nlohmann::json& result : source.at("results")) {
    const formats::Format* format = formats::find_format(result.at("type").get<std::string>());
    if (format == nullptr || format->encoder == nullptr) continue;
    if (!types.empty() && std::ranges::find(types, format->name) == types.end()) continue;
    const bool weighted = result.at("encoder_weights").get<bool>();
    const int64_t blocks = cols / format->block_len;
    std::vector<std::byte> row(static_cast<size_t>(blocks * format->block_bytes));
    std::vector<float> y(x.size());

    double seconds = 0.0;
    for (int64_t r = 0; r < rows; ++r) {
      const double start = thread_seconds();
      format->encoder->encode_row(&x[r * cols], weighted ? w.data() : nullptr, blocks, effort, row.data());
      seconds += thread_seconds() - start;
      format->decode(row.data(), blocks, &y[r * cols]);
    }
    const Errors own = relative_errors(x, y, w);

    const std::vector<float> ones(w.size(), 1.0f);
    for (int64_t r = 0; r < rows; ++r) {
      encode_row_plainly(*format, &x[r * cols], weighted ? w.data() : ones.data(), blocks, effort, row.data());
      format->decode(row.data(), blocks, &y[r * cols]);
    }
    const Errors plain = relative_errors(x, y, w);

    const double peer_weighted = result.at("weighted_rel_err").get<double>();
    const double peer_unweighted = result.at("unweighted_rel_err").get<double>();
    fmt::print("{:5} {:7} {:10} {:8.4f} {:8.4f}   {:8.4f} {:8.4f} {:9.1f}\n", name.substr(0, name.find('_')),
               format->name, weighted ? "known" : "unknown", own.weighted / peer_weighted,
               own.unweighted / peer_unweighted, plain.weighted / peer_weighted, plain.unweighted / peer_unweighted,
               static_cast<double>(x.size()) / seconds / 1e6);
  }
}

}  // namespace
}  // namespace steelyard

int main(int argc, char** argv) {
  const std::map<std::string, steelyard::formats::Effort> efforts = {{"fast", steelyard::formats::Effort::kFast},
                                                                     {"normal", steelyard::formats::Effort::kNormal},
                                                                     {"best", steelyard::formats::Effort::kBest}};
  const auto effort = efforts.find(argc > 3 ? argv[3] : "normal");
  if (argc < 3 || effort == efforts.end()) {
    fmt::print(stderr, "usage: encode_error REFERENCE.json DATA_FOLDER [fast|normal|best [TYPE...]]\n");
    return 1;
  }
  fmt::print("{:5} {:7} {:10} {:>17}   {:>17} {:>9}\n{:5} {:7} {:10} {:>8} {:>8}   {:>8} {:>8} {:>9}\n", "", "", "",
             "own objective", "importance only", "", "data", "type", "importance", "weighted", "plain", "weighted",
             "plain", "Mweight/s");
  const auto reference = nlohmann::json::parse(steelyard::read_file(argv[1]));
  for (const nlohmann::json& source : reference.at("sources")) {
    steelyard::report(source, argv[2], effort->second, std::vector<std::string>(argv + std::min(argc, 4), argv + argc));
  }
}
