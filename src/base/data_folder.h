// Where data lies that comes with the program: "plans", "calibration". No path is compiled in. Every place is relative
// to the file that this code runs from, the program or a shared library, so that an installed program can be moved.
//
// Called where a preset or the default text is wanted, and only then: a plan of one's own needs no folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace steelyard {

/// The folder of `name`, the first of: what the environment variable STEELYARD_<NAME> says, whether it exists or not;
/// the existing one of data_places() for the running file. Error names all of them when there is none.
std::string data_folder(const std::string& name);

/// Where the data called `name` may lie for a program in `program_folder`, in the order in which to look: installed
/// (../share/steelyard/<name>), then in a source tree, of which the program or the folder above it is build or build-*.
std::vector<std::filesystem::path> data_places(const std::filesystem::path& program_folder, const std::string& name);

}  // namespace steelyard
