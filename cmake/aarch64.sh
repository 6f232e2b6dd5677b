#!/bin/sh
# aarch64.sh FOLDER: unpacks there the libraries of packages.txt and what they need, as Debian has them for arm64. Nothing
# is installed: apt keeps its lists in FOLDER, too. Does nothing when all is there.
set -eu
list=$(dirname "$0")/packages.txt
mkdir -p "$1/apt/lists/partial" "$1/apt/archives/partial"
root=$(cd "$1" && pwd)
[ "$root/complete" -nt "$list" ] && exit 0
echo "fetching libraries for arm64"
: > "$root/apt/status"
arm64_apt() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User="$(id -un)" \
    -o Dir::State="$root/apt" -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt" "$@"
}
arm64_apt update
# shellcheck disable=SC2046  # a list
arm64_apt install --yes --no-install-recommends --download-only libgomp1 $(grep -e '-dev$' "$list")
for package in "$root"/apt/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
touch "$root/complete"
