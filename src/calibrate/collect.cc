#include "calibrate/collect.h"

#include <algorithm>

#include "calibrate/imatrix_collector.h"

namespace steelyard {

Imatrix collect_imatrix(Session& session, Backend& backend, const Chunks& chunks, bool with_output,
                        const std::string& dataset, const CollectProgress& progress) {
  constexpr int64_t kOutputRows = 64;  // logits at a time: they are computed only to be watched
  ImatrixCollector collector(with_output);
  session.observe(&collector);
  for (int64_t c = 0; c < chunks.count(); ++c) {
    session.reset();
    const Matrix residual = session.forward(chunks.input(c));
    for (int64_t begin = 0; with_output && begin < residual.rows; begin += kOutputRows) {
      session.logits(residual.slice(begin, std::min(kOutputRows, residual.rows - begin)));
    }
    progress(c + 1, chunks.count());
  }
  session.observe(nullptr);

  Imatrix imatrix = collector.result(backend);
  imatrix.datasets = {dataset};
  imatrix.chunk_count = chunks.count();
  imatrix.chunk_size = chunks.n_ctx();
  return imatrix;
}

}  // namespace steelyard
