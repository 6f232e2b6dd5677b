// quantize --size and --vram: a search for a plan (search.h), and quantization by it, in one.
#pragma once

#include "jobs/quantize.h"

namespace steelyard::jobs {

/// The plan lies beside the output, as OUT.plan, and stays there; a run with `resume` takes the one that it finds,
/// or goes on with the search from OUT.search.
/// Error as search and quantize, and for options that leave nothing to search.
QuantizeResult quantize_to_size(const QuantizeOptions& options, const ProgressCallback& progress);

}  // namespace steelyard::jobs
