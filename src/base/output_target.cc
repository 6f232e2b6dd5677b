#include "base/output_target.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"

namespace steelyard {
namespace {

constexpr unsigned kPermissions = 0777;
// As many as Linux follows.
constexpr int kMaxLinks = 40;

}  // namespace

std::string output_target(const std::string& path) {
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists) {
    if (!S_ISREG(status.st_mode)) fail(path, "exists and is not a regular file");
    // Of "/dev/stdout" with a redirection the redirected file would be replaced, and what is printed would be lost.
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
      struct stat redirected {};
      if (::fstat(stream, &redirected) == 0 && redirected.st_dev == status.st_dev &&
          redirected.st_ino == status.st_ino) {
        fail(path, "is where standard {} goes", stream == STDOUT_FILENO ? "output" : "error");
      }
    }
  } else if (errno == ELOOP) {
    fail(path, "cannot write here: {}", std::strerror(errno));
  }
  std::filesystem::path target = path;
  for (int links = 0; links < kMaxLinks; ++links) {
    std::error_code none;
    const std::filesystem::path next = std::filesystem::read_symlink(target, none);
    if (none) break;
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  // Links of /proc lead to open files, also to those that have no name any more.
  struct stat end {};
  const bool is_there = ::lstat(target.c_str(), &end) == 0;
  if (is_there != exists || (exists && (end.st_ino != status.st_ino || end.st_dev != status.st_dev))) {
    fail(path, "is a link to no file that could be replaced");
  }
  return target.string();
}

std::string name_beside(const std::string& path, std::string_view suffix) {
  std::string name = path + std::string(suffix);
  struct stat status {};
  if (::lstat(name.c_str(), &status) == 0 && S_ISLNK(status.st_mode)) {
    fail(name, "is a symbolic link, where a file of this program should be");
  }
  return name;
}

void check_replaceable(const std::string& path) { output_target(path); }

unsigned creation_mode(const std::string& target) {
  struct stat status {};
  return ::stat(target.c_str(), &status) == 0 ? status.st_mode & kPermissions : 0666;  // the umask takes from it
}

void take_over_mode(int fd, const std::string& target) {
  struct stat older {
  }, ours{};
  if (::stat(target.c_str(), &older) != 0 || ::fstat(fd, &ours) != 0) return;
  // Only root may give files away. What fails here leaves a file of this user, with the older one's mode.
  if (older.st_uid != ours.st_uid || older.st_gid != ours.st_gid) {
    [[maybe_unused]] const int ignored = ::fchown(fd, older.st_uid, older.st_gid);
  }
  ::fchmod(fd, older.st_mode & kPermissions);
}

}  // namespace steelyard
