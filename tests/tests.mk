# SPDX-License-Identifier: Apache-2.0
# Tests, checks, fuzzing and benchmarks; included by the Makefile.

$(SUPPORT): $(SUPPORT_OBJECTS)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# Unit tests reach internals, so they link the archive. Small examples are users: shared library.
$(B)/tests/%: tests/%.c $(SUPPORT) $(STATIC)
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(CFLAGS) $(BASE_CFLAGS) -MMD -MP -MF $@.d -o $@ $< $(SUPPORT) $(STATIC) \
	  $(CHECK_FLAGS) $(LIBS)
$(B)/bench/%: tests/bench/%.c $(SUPPORT) $(STATIC)
	@mkdir -p $(@D)
	$(call say,BENCH,$@)
	$(Q)$(CC) $(CFLAGS) $(BASE_CFLAGS) -MMD -MP -MF $@.d -o $@ $< $(SUPPORT) $(STATIC) $(LIBS)
$(B)/examples/%: examples/%.c $(SHARED)
	@mkdir -p $(@D)
	$(call say,EXMPL,$@)
	$(Q)$(CC) $(CFLAGS) -std=c11 $(WARNINGS) $(WERROR) $(SANITIZE) -Iinclude -o $@ $< -L$(B) -lmedsamix \
	  -Wl,-rpath,'$$ORIGIN/..' -lm
$(B)/examples/%: examples/%.cpp $(SHARED)
	@mkdir -p $(@D)
	$(call say,EXMPL,$@)
	$(Q)$(CXX) $(CFLAGS) -std=c++17 -Wall -Wextra $(WERROR) $(SANITIZE) -Iinclude -o $@ $< -L$(B) -lmedsamix \
	  -Wl,-rpath,'$$ORIGIN/..'
$(B)/fuzz/replay_%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(STATIC)
	@mkdir -p $(@D)
	$(call say,REPLAY,$@)
	$(Q)$(CC) $(CFLAGS) $(BASE_CFLAGS) -o $@ $< tests/fuzz/replay.c $(STATIC) $(LIBS)

# The CUDA backend's sources compiled by the host's compiler against an emulation of CUDA; the plug-in
# lies beside the tests that use it.
ON_CPU := $(B)/tests/cuda/libmedsamix-cuda.so
ON_CPU_OBJECTS := $(patsubst kernels/cuda/%.cu,$(B)/on_cpu/%.o,$(CUDA_SOURCES)) \
  $(patsubst tests/cuda_on_cpu/%.cpp,$(B)/on_cpu/emulation/%.o,$(sort $(wildcard tests/cuda_on_cpu/*.cpp)))
ON_CPU_FLAGS = -std=c++20 -fPIC -fvisibility=hidden -fno-exceptions -ffp-contract=off -Wall -Wextra \
  -Wno-unknown-pragmas -Itests/cuda_on_cpu -I. $(PACKAGE_CFLAGS) $(WERROR) $(SANITIZE)
$(B)/on_cpu/%.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CFLAGS) $(ON_CPU_FLAGS) -MMD -MP -x c++ -c -o $@ $<
$(B)/on_cpu/emulation/%.o: tests/cuda_on_cpu/%.cpp
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CFLAGS) $(ON_CPU_FLAGS) -MMD -MP -c -o $@ $<
$(ON_CPU): $(ON_CPU_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CXX) $(CFLAGS) -shared $(SANITIZE) -o $@ $^ $(PACKAGE_LIBS)
$(filter $(B)/tests/cuda/%,$(TESTS)): $(ON_CPU)

#: make test          build and run every test, the small examples, and the fuzz corpora; JOBS=2 runs two at a time
.PHONY: test build-tests examples
build-tests: $(TESTS) $(EXAMPLES) $(FUZZ_REPLAYS) $(PROGRAM) $(BENCHES)
test: build-tests
	@B=$(B) tests/run $(TESTS) $(TEST_SCRIPTS) $(FUZZ_REPLAYS)
examples: $(EXAMPLES)

#: make check-asan    the tests again under AddressSanitizer and UndefinedBehaviorSanitizer
.PHONY: check-asan
check-asan:
	+$(MAKE) test B=build/asan CFLAGS="-O1 -g -fno-omit-frame-pointer" \
	  SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" MSX_SANITIZED=1

#: make check-workers the kill tests of the search at full length: 200 trials, a SIGKILL every 2 seconds
.PHONY: check-workers
check-workers: $(PROGRAM) $(B)/tests/search/test_store
	@TRIALS=200 KILL_SECONDS=2 B=$(B) tests/run tests/search/test_processes.sh tests/search/test_postgres.sh

#: make check-tsan    what threads share, under ThreadSanitizer (clang; its Archer knows OpenMP)
TSAN_TESTS := $(addprefix build/tsan/tests/,core/test_core checkpoint/test_threads merge/test_merge_files \
  merge/test_merger merge/test_verify model/test_sessions model/test_model model/test_embedding \
  search/test_evaluator model/test_generate model/test_propagate optimize/test_smac)
.PHONY: check-tsan
check-tsan:
	+$(MAKE) $(TSAN_TESTS) B=build/tsan CC=clang OPENMP=-fopenmp=libomp NVCC= SANITIZE=-fsanitize=thread \
	  CFLAGS="-O1 -g -Wno-unused-command-line-argument"
	@tools/check-tsan $(TSAN_TESTS)

#: make check-style   warnings as errors (gcc and clang), clang-format, folder arrows, SPDX lines
.PHONY: check-style
check-style:
	+$(MAKE) --no-print-directory all build-tests B=build/style-gcc CC=gcc CFLAGS="-O1" WERROR=-Werror NVCC=
	@tools/check-clang '$(BASE_CFLAGS)' $(LIB_SOURCES) $(KERNEL_SOURCES) \
	  $(wildcard examples/*.c examples/medsamix/*.c tests/*/*.c)
	@tools/check-format
	@tools/check-arrows
	@echo "style is clean"

#: make check-abi     compare the library's ABI with the stored baseline (needs abidiff)
.PHONY: check-abi
check-abi: $(SHARED)
	tools/check-abi $(SHARED)

# Fuzzing: libFuzzer with clang, without OpenMP (two OpenMP runtimes do not mix).
FUZZ_SECONDS ?= 60
FUZZ_B := build/fuzz
FUZZ_FLAGS := -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
#: make fuzz          run every fuzz target for FUZZ_SECONDS (60) under ASan and UBSan
.PHONY: fuzz fuzz-build
fuzz-build: $(FUZZERS:%=$(FUZZ_B)/fuzz_%)
$(FUZZ_B)/fuzz_%: tests/fuzz/fuzz_%.c $(LIB_SOURCES) $(KERNEL_SOURCES)
	+$(MAKE) --no-print-directory $(FUZZ_B)/lib/libmedsamix.a B=$(FUZZ_B)/lib CC=clang \
	  CFLAGS="-O1 -g -Wno-unknown-pragmas -Wno-unused-variable -Wno-unused-parameter" OPENMP= \
	  SANITIZE="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined"
	$(Q)clang $(FUZZ_FLAGS) $(filter-out -fopenmp,$(BASE_CFLAGS)) -Wno-unknown-pragmas -o $@ $< \
	  $(FUZZ_B)/lib/libmedsamix.a $(filter-out -fopenmp,$(LIBS))
fuzz: fuzz-build
	tools/fuzz $(FUZZ_B) $(FUZZ_SECONDS) $(FUZZERS)

#: make bench         build and run the benchmarks
.PHONY: bench
bench: $(BENCHES)
	@for b in $(BENCHES); do echo "== $$b"; $$b || exit 1; done

#: make bench-merge   merging against memory bandwidth, cat, NumPy and PyTorch (1.1 GB of models are made)
.PHONY: bench-merge
bench-merge: $(B)/bench/bench_merge $(B)/bench/bench_merge_files $(PROGRAM)
	@B=$(B) tests/bench/merge.sh

#: make bench-model   encoder and decoder: our table, then in turns with PyTorch where it is installed
.PHONY: bench-model
bench-model: $(B)/bench/bench_model
	@. tests/bench/blas_core.sh; $<
	@echo && B=$(B) tests/bench/model_against_torch.sh || [ $$? = 77 ]
	@echo && B=$(B) tests/bench/model_against_torch.sh --bf16 --cells encode:1,encode:4 || [ $$? = 77 ]

#: make bench-workers  a search with one worker, then with two, in turns
.PHONY: bench-workers
bench-workers: $(PROGRAM)
	@B=$(B) tests/bench/workers.sh

-include $(TESTS:%=%.d) $(BENCHES:%=%.d) $(ON_CPU_OBJECTS:.o=.d)
