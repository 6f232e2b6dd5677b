#!/bin/sh
# check_package.sh FOLDER: installs the packages in FOLDER in a fresh Debian, as its users would, and quantizes a model there
# without the source tree. Needs root, debootstrap and Debian's mirror as this machine's apt has it; skips without them.
set -eu
packages=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")/.." && pwd)
skip() { echo "skipped: $*"; exit 0; }
[ "$(id -u)" -eq 0 ] || skip "needs root"
command -v debootstrap > /dev/null || skip "needs debootstrap"
. /etc/os-release
[ "$ID" = debian ] || skip "needs Debian"
mirror=$(apt-get indextargets --format '$(SITE)' "Created-By: Packages" "Codename: $VERSION_CODENAME" | head -n 1)
[ -n "$mirror" ] || skip "apt has no mirror of $VERSION_CODENAME"

folder=$(mktemp -d)
root=$folder/root
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
  ${http_proxy:+http_proxy="$http_proxy"} "$@"; }
finish() {
  status=$?
  umount "$root/proc" 2> /dev/null || true
  rm -rf --one-file-system "$folder"
  exit $status
}
trap finish EXIT

echo "== A fresh $VERSION_CODENAME"
debootstrap --variant=minbase "$VERSION_CODENAME" "$root" "$mirror" > "$folder/debootstrap.log" 2>&1 ||
  { tail -n 20 "$folder/debootstrap.log"; exit 1; }
# The program reads how much memory there is from /proc, and starts itself again from there.
mount -t proc proc "$root/proc"
cp "$packages"/*.deb "$source/tests/models/glm-flash-tiny-bf16.gguf" "$source/tests/text/heldout.txt" "$root/root"

echo "== Installing the program"
inside apt-get update -qq
inside sh -c 'apt-get install -y -qq --no-install-recommends /root/steelyard_*.deb' > "$folder/install.log" 2>&1 ||
  { tail -n 20 "$folder/install.log"; exit 1; }
inside dpkg-query --show --showformat '${Package} ${Version}: ${Depends}\n' steelyard
inside steelyard --version

echo "== steelyard quantize model.gguf out.gguf --preset Q4_K_M"
inside sh -c 'cd /root && steelyard quantize glm-flash-tiny-bf16.gguf out.gguf --preset Q4_K_M' > "$folder/quantize.log"
tail -n 1 "$folder/quantize.log"
inside sh -c 'cd /root && steelyard inspect out.gguf --verify &&
  steelyard imatrix -m out.gguf -f /usr/share/steelyard/calibration/default.txt --chunks 2 -o out.imatrix.gguf &&
  steelyard perplexity -m out.gguf -f heldout.txt --chunks 2' > "$folder/use.log" 2>&1 || { cat "$folder/use.log"; exit 1; }
tail -n 1 "$folder/use.log"

echo "== A program against the libraries"
inside sh -c 'apt-get install -y -qq --no-install-recommends /root/steelyard-dev_*.deb g++ cmake make' \
  > "$folder/install.log" 2>&1 || { tail -n 20 "$folder/install.log"; exit 1; }
mkdir "$root/root/user"
cp "$source"/tests/install/CMakeLists.txt "$source"/tests/install/main.cc "$root/root/user"
inside sh -c 'cd /root/user && cmake -B build > /dev/null && cmake --build build > /dev/null &&
  build/show_model ../glm-flash-tiny-bf16.gguf'

echo "== Removing"
inside sh -c 'apt-get purge -y -qq steelyard steelyard-dev' > "$folder/install.log" 2>&1
inside sh -c '[ ! -e /usr/share/steelyard ] && [ ! -e /usr/bin/steelyard ]'
echo "the packages work"
