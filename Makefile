# Recipes. Each one does its own set-up: missing Debian packages, configure, build.
PRESET ?= release
JOBS ?= $(shell nproc)
FOLDER = $(if $(filter release,$(PRESET)),build,build-$(PRESET))
MAKEFLAGS += --no-print-directory

.PHONY: all setup build program test asan tsan fuzz asan-quick aarch64 coverage tidy cuda-targets demo examples install package check-package bench bench-runtime \
  bench-compare corpus update-golden format check-format clean

all: build

setup:
	@cmake/setup.sh $(PRESET)

build: setup
	@cmake --preset $(PRESET) > /dev/null
	@cmake --build --preset $(PRESET) -j $(JOBS)

# The program without the tests, in the same build folder: less than half the work.
program: setup
	@cmake --preset $(PRESET) > /dev/null
	@cmake --build --preset $(PRESET) -j $(JOBS) --target steelyard

# Every test, and what was skipped and why. PRESET=debug, asan or clang runs them in another build.
test: build
	@ctest --preset $(PRESET) -j $(JOBS); status=$$?; \
	 awk '/: Skipped$$/ { getline; print "skipped: " $$0 }' $(FOLDER)/Testing/Temporary/LastTest.log; exit $$status

# The tests under AddressSanitizer and UndefinedBehaviorSanitizer.
asan:
	@$(MAKE) test PRESET=asan

# What parses files, under the same: seeds and inputs that fuzzing found. Minutes, of which most are the build.
asan-quick:
	@$(MAKE) setup PRESET=fuzz
	@cmake --preset asan-quick > /dev/null
	@cmake --build --preset asan-quick -j $(JOBS)
	@ctest --preset asan-quick -j $(JOBS)

# Tests of what runs in threads (forward pass, encoders, sweeps, tuning) under ThreadSanitizer.
tsan:
	@$(MAKE) setup PRESET=tsan
	@cmake --preset tsan > /dev/null
	@cmake --build --preset tsan -j $(JOBS)
	@ctest --preset tsan

# Fuzzes for TIME seconds each the targets of tests/fuzz, or TARGETS="gguf plan" (docs/fuzzing.md).
TIME ?= 60
TARGETS ?=
fuzz:
	@$(MAKE) setup PRESET=fuzz
	@cmake --preset fuzz > /dev/null
	@cmake --build --preset fuzz -j $(JOBS)
	@tests/fuzz/run.sh build-fuzz $(TIME) $(TARGETS)

# The tests for aarch64, run by qemu; of the command line only that of the SHA-256. On Debian: its cross compiler, and its
# arm64 libraries unpacked into the build folder.
aarch64:
	@cmake/aarch64.sh build-aarch64/sysroot
	@$(MAKE) test PRESET=aarch64

# Which lines of each folder of src/ the tests run: a table. It takes a build of its own with less optimization.
coverage:
	@$(MAKE) test PRESET=coverage || echo "some tests fail or run out of time without optimization; the table counts what they ran"
	@cmake/coverage.sh build-coverage

# clang-tidy with the checks of .clang-tidy: all sources, or those whose path has one of the words of FILES="jobs tools/".
FILES ?=
tidy: setup
	@cmake --preset $(PRESET) > /dev/null
	@cmake/tidy.sh $(FOLDER) $(FILES)

# Compiles all kernels for all targets with nvcc, and writes what they need into the table of docs/cuda.md. A quarter of an hour to half an hour.
cuda-targets: setup
	@cmake --preset $(PRESET) > /dev/null
	@cmake --build --preset $(PRESET) -j $(JOBS) --target cuda_targets
	@cat $(FOLDER)/cuda_targets/*.log | c++filt | awk -f src/compute/cuda/resources.awk > $(FOLDER)/cuda_targets/table.md
	@sed -i -e '/<!-- resources -->/,/<!-- end -->/{//!d}' -e '/<!-- resources -->/r $(FOLDER)/cuda_targets/table.md' docs/cuda.md

# Calibrate, plan, quantize and evaluate the bundled model; prints a table.
demo:
	@tools/demo.sh announce $(FOLDER)
	@$(MAKE) program
	@tools/demo.sh run $(FOLDER)

# Into /usr/local, or PREFIX=FOLDER; DESTDIR=FOLDER is put before that.
PREFIX ?= /usr/local
install: setup
	@cmake --preset $(PRESET) > /dev/null
	@cmake --build --preset $(PRESET) -j $(JOBS) --target installable
	@cmake --install $(FOLDER) --prefix $(PREFIX)

# Debian packages, in build/packages.
package: setup
	@cmake/setup.sh package
	@cmake --preset $(PRESET) > /dev/null
	@cmake --build --preset $(PRESET) -j $(JOBS) --target installable
	@rm -rf $(FOLDER)/packages
	@cd $(FOLDER) && cpack > packages.log || { cat packages.log; exit 1; }
	@rm -rf $(FOLDER)/packages/_CPack_Packages
	@ls $(FOLDER)/packages/*.deb

# Installs them in a fresh Debian and quantizes a model there; as root, with debootstrap.
check-package: package
	@cmake/check_package.sh $(FOLDER)/packages

# The worked examples, which CI runs too. That in Python needs the module, which is built where pybind11 is there.
examples: program
	@set -e; for script in examples/*.sh; do printf '\n== %s\n' $$script; STEELYARD=$(FOLDER)/steelyard $$script; done; \
	if cmake --build $(FOLDER) --target help | grep -q steelyard_python; then \
	  cmake --build $(FOLDER) -j $(JOBS) --target steelyard_python; printf '\n== examples/measure.py\n'; \
	  PYTHONPATH=$(FOLDER)/python /usr/bin/python3 examples/measure.py; else echo "skipped: examples/measure.py, for there is no pybind11"; fi

# What each encoder loses, in weights and in a model, and how fast it is. SHARED: folder of the reference data. PEER:
# llama.cpp's llama-quantize, to compare with.
SHARED ?= ../shared
PEER ?=
# Every figure is a row of this file, too; make bench-compare shows two commits of it beside each other.
RESULTS ?= tests/bench/results.csv
BENCH_MODEL = tests/models/glm-flash-tiny-bf16.gguf
BENCH_TENSORS = ffn_(gate|up|down)_exps
bench: setup
	@test -r $(SHARED)/golden/encode_error.json || { echo "bench needs the reference data: make bench SHARED=FOLDER"; exit 1; }
	@cmake --preset release -DSTEELYARD_BENCH=ON > /dev/null
	@cmake --build --preset release -j $(JOBS)
	@build/tests/encode_error $(SHARED)/golden/encode_error.json $(SHARED)/golden/encode
	@build/steelyard imatrix -m $(BENCH_MODEL) -f calibration/default.txt -o build/bench.imatrix.gguf > /dev/null
	@RESULTS=$(RESULTS) tests/bench/divergence.sh build/steelyard $(BENCH_MODEL) build/bench.imatrix.gguf $(SHARED)/text/wiki.test.raw 40 \
	  '$(BENCH_TENSORS)' $(PEER)
	@test -z "$(PEER)" || RESULTS=$(RESULTS) tests/bench/speed.sh build/steelyard $(PEER) $(BENCH_MODEL) build/bench.imatrix.gguf '$(BENCH_TENSORS)'
	@test -z "$(PEER)" || $(MAKE) bench-runtime

# Prefill and decoding of every type in two random models, and of the bundled model with perplexity: TYPES="Q4_K IQ1_M" and
# KINDS=dense, moe or nothing for fewer, MODELS: more model files. PEER: beside llama.cpp's programs in its folder.
MODELS ?=
BENCH_PEERS = "$(if $(PEER),$(dir $(PEER)))"
bench-runtime: build
	@RESULTS=$(RESULTS) tests/bench/types.sh build/steelyard build/speed $(BENCH_PEERS)
	@for type in Q8_0 Q4_K; do build/steelyard quantize $(BENCH_MODEL) build/tiny-$$type.gguf $$type > /dev/null; done
	@build/steelyard imatrix -m $(BENCH_MODEL) -f calibration/default.txt -o build/bench.imatrix.gguf > /dev/null
	@build/steelyard quantize $(BENCH_MODEL) build/tiny-asymmetric.gguf --plan plans/glm-4.7-flash-asym-2bit.plan \
	  --imatrix build/bench.imatrix.gguf > /dev/null
	@echo
	@RESULTS=$(RESULTS) tests/bench/runtime.sh build/steelyard $(BENCH_PEERS) tests/text/heldout.txt \
	  $(BENCH_MODEL) build/tiny-Q8_0.gguf build/tiny-Q4_K.gguf build/tiny-asymmetric.gguf $(MODELS)

# The figures of two commits, and their ratios: make bench-compare [BEFORE=commit AFTER=commit]; else the last two there are.
BEFORE ?=
AFTER ?=
bench-compare:
	@tests/bench/compare.sh $(RESULTS) $(BEFORE) $(AFTER)

# A calibration corpus from your own text: make corpus TEXT="a.txt b.txt" OUT=corpus.txt
corpus:
	@calibration/mix.sh $(TEXT) > $(OUT)

# Rewrites the goldens that are our own output; read the diff before you commit it.
update-golden: build
	@STEELYARD_UPDATE_GOLDEN=1 ctest --preset $(PRESET) -j $(JOBS)

SOURCES = $$(git ls-files '*.h' '*.cc' '*.cu' '*.cuh')
format:
	@clang-format-14 -i $(SOURCES)

# Compares instead of --dry-run, which finds fault with closing comments of inline namespaces that it would not change.
check-format:
	@status=0; for file in $(SOURCES); do \
	  clang-format-14 $$file | cmp -s - $$file || { echo "$$file is not formatted: make format"; status=1; }; done; exit $$status

clean:
	@rm -rf build build-*
