// Runs calibration text through a model and collects the importance matrix.
#pragma once

#include <functional>

#include "imatrix/imatrix.h"
#include "model/model.h"
#include "tokenizer/chunks.h"

namespace steelyard {

/// Called after chunk `done` of `count`.
using CollectProgress = std::function<void(int64_t done, int64_t count)>;

/// Every chunk passes through the model from an empty context; all its positions count. with_output: also observe
/// output.weight. `dataset` is recorded as the origin of the text.
Imatrix collect_imatrix(Session& session, Backend& backend, const Chunks& chunks, bool with_output,
                        const std::string& dataset, const CollectProgress& progress);

}  // namespace steelyard
