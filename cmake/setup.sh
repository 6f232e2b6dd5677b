#!/bin/sh
# setup.sh [PRESET]: installs the Debian packages of packages.txt that are missing, and those of packages.PRESET.txt where
# the preset needs more. Does nothing, and needs no rights, when all are there.
set -eu
cd "$(dirname "$0")"
lists=packages.txt
extra=packages.${1:-release}.txt
[ ! -e "$extra" ] || lists="$lists $extra"
missing=
# shellcheck disable=SC2086  # the lists are split into words on purpose
for package in $(grep -hv '^#' $lists); do
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
