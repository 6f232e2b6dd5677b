// Which file an output's name stands for, and what of an older file stays. For whatever writes a file under a name that
// the user chose.
#pragma once

#include <string>
#include <string_view>

namespace steelyard {

/// The file that `path` names: through symbolic links to their end, which need not exist yet. Temporary files belong
/// beside it. Error if it exists and is not a regular file, if standard output or standard error goes there, and for
/// links that lead in a circle.
std::string output_target(const std::string& path);

/// path + suffix: a file that this program keeps beside an output. Error if a link has the name: nobody but this
/// program makes such files, and what it writes there must not go elsewhere.
std::string name_beside(const std::string& path, std::string_view suffix);

/// As output_target, for its errors.
void check_replaceable(const std::string& path);

/// What an open file that will replace `target` takes over from it: mode and, where this user may give files away,
/// owner. Nothing where there is no such file.
void take_over_mode(int fd, const std::string& target);

/// The mode to create such a file with: nobody may read it who could not read the older one.
unsigned creation_mode(const std::string& target);

}  // namespace steelyard
