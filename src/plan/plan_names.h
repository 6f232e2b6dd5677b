// Names under which a plan is asked for without a plan file: presets, and the numbers that llama-quantize takes
// instead. Called by jobs/plan and the command line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace steelyard::plan {

/// The plans in the folder `plans_folder`/presets by name, sorted; none where there is no such folder.
std::vector<std::string> preset_names(const std::string& plans_folder);

/// "Q4_K_M" for "15": what llama-quantize makes under this number (file_types.def). Empty for any other text.
std::string_view file_type_name(std::string_view number);

}  // namespace steelyard::plan
