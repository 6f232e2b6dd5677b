#!/bin/sh
# Installs the Debian packages of packages.txt that are missing. Does nothing, and needs no rights, when all are there.
set -eu
list=$(dirname "$0")/packages.txt
missing=
for package in $(grep -v '^#' "$list"); do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
as_root=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "run as root: apt-get install$missing" >&2; exit 1; }
  as_root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086  # the list is split into words on purpose
$as_root apt-get install -y -qq --no-install-recommends $missing
