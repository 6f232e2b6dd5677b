// What the page of a search shows (report/search_page.h), from what the search knows at its end: nothing is run again.
#pragma once

#include <string>
#include <vector>

#include "gguf/source.h"
#include "jobs/search.h"
#include "jobs/search_files.h"

namespace steelyard::jobs {

struct SearchReport {
  const SearchOptions& options;
  const gguf::Source& source;
  const SearchResult& result;
  int64_t n_calibrating = 0, n_held_out = 0;  ///< chunks
  const std::vector<MadeFile>& plans;         ///< as result.measured
};

/// A whole page. What only a measurement knows is left out where the chosen plan was measured by an earlier run.
std::string search_report(const SearchReport& of);

}  // namespace steelyard::jobs
