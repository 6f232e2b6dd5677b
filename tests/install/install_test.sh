#!/bin/sh
# Installs into a temporary folder, builds a program against what is there, and runs that and the installed binary, which
# must find its plans there and know nothing of the source tree. Removes the folder.
# usage: install_test.sh BUILD_FOLDER SOURCE_FOLDER COMPILER BUILD_TYPE; the target `installable` has been built
set -eu
build=$1 source=$2 compiler=$3 type=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
prefix=$folder/prefix
model=$source/tests/models/glm-flash-tiny-bf16.gguf
fail() { echo "$*" >&2; exit 1; }

cmake --install "$build" --prefix "$prefix" > "$folder/install.log"
for file in bin/steelyard share/steelyard/plans/presets/Q4_K_M.plan share/steelyard/calibration/default.txt \
  include/steelyard/base/error.h share/man/man1/steelyard.1.gz share/man/man1/steelyard-quantize.1.gz \
  share/bash-completion/completions/steelyard share/zsh/vendor-completions/_steelyard \
  share/fish/vendor_completions.d/steelyard.fish; do
  [ -f "$prefix/$file" ] || fail "not installed: $file"
done

# The prefix may be moved: nothing in it has been made for its path.
mv "$prefix" "$folder/moved"
prefix=$folder/moved

echo "== The installed program"
cd /
env -u STEELYARD_PLANS "$prefix/bin/steelyard" quantize "$model" "$folder/out.gguf" --preset Q4_K_M > "$folder/out.log" ||
  fail "the installed program failed"
tail -n 1 "$folder/out.log"
# Debugging information has paths of sources, no other binary has.
if [ "$type" = Release ] && strings -a "$prefix/bin/steelyard" | grep -F "$source/"; then
  fail "the binary holds paths of the source tree"
fi
rm "$prefix/share/steelyard/plans" -r
if env -u STEELYARD_PLANS "$prefix/bin/steelyard" plan "$model" --preset Q4_K_M > /dev/null 2> "$folder/missing.log"; then
  fail "plans came from somewhere else"
fi
grep -qF "$prefix/share/steelyard/plans" "$folder/missing.log" || fail "unexpected: $(cat "$folder/missing.log")"

echo "== A program built against the installed libraries"
cmake -S "$source/tests/install" -B "$folder/build" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$prefix" \
  > "$folder/configure.log" 2>&1 || { cat "$folder/configure.log"; fail "find_package(steelyard) failed"; }
cmake --build "$folder/build" > "$folder/build.log" 2>&1 || { cat "$folder/build.log"; fail "it does not compile"; }
said=$("$folder/build/show_model" "$model")
echo "$said"
[ "$said" = "70 tensors, 1 rules" ] || fail "unexpected"
