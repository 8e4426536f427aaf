# SPDX-License-Identifier: Apache-2.0
# The CUDA plug-in; included by the Makefile. Without nvcc it is left out, and nothing else changes.

NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA_SOURCES := $(sort $(wildcard kernels/cuda/*.cu))
CUDA_OBJECTS := $(patsubst %.cu,$(B)/%.o,$(CUDA_SOURCES))
CUDA_PLUGIN := $(B)/libmedsamix-cuda.so

# Ampere, its consumer form, Hopper with all of its instructions, and PTX for what comes later.
CUDA_TARGETS ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_86,code=sm_86 \
  -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_90,code=compute_90
CUDA_LIBRARIES = $(call ask,CUDA_LIBRARIES,dirname $$(dirname $$(readlink -f $(NVCC))))/lib64
NVCC_FLAGS = -std=c++20 -O3 $(if $(WERROR),-Werror all-warnings) \
  -Xcompiler -fPIC$(,)-fvisibility=hidden$(,)-Wall$(,)-Wextra -I.

#: make cuda          build the CUDA plug-in, libmedsamix-cuda.so; part of `make` where nvcc is found,
#:                    left out with NVCC=
.PHONY: cuda
ifneq ($(NVCC),)
cuda: $(CUDA_PLUGIN)
else
cuda:
	@echo "  CUDA   left out: nvcc was not found"
endif

$(B)/kernels/cuda/%.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(NVCC_FLAGS) $(CUDA_TARGETS) -MMD -MF $(@:.o=.d) -c -o $@ $<
$(CUDA_PLUGIN): $(CUDA_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(NVCC) -shared -cudart static -o $@ $^ -L$(CUDA_LIBRARIES) -lcublasLt \
	  -Xlinker -z$(,)defs$(,)-rpath$(,)$(CUDA_LIBRARIES)

#: make cuda-report   registers, stack and spilled bytes of every CUDA kernel; fails when one spills much
.PHONY: cuda-report
cuda-report:
	@tools/cuda-report $(NVCC) $(NVCC_FLAGS) $(CUDA_TARGETS) -- $(CUDA_SOURCES)

#: make check-gpu     tests on a GPU: ops against the CPU, golden vectors at full size, compute-sanitizer
.PHONY: check-gpu
GPU_TESTS = $(patsubst tests/cuda/%.c,$(B)/gpu/%,$(sort $(wildcard tests/cuda/*.c)))
check-gpu: $(GPU_TESTS)
	tools/check-gpu $(B)/gpu

#: make bench-gpu     milliseconds, memory and errors on a GPU, beside PyTorch where it is installed
.PHONY: bench-gpu
bench-gpu: $(B)/gpu/bench
	tools/bench-gpu $(B)/gpu

# The tests' programs look for the plug-in beside themselves: here it is the real one.
$(B)/gpu/%: tests/cuda/%.c $(SUPPORT) $(STATIC) cuda
	@mkdir -p $(@D)
	@ln -sf ../libmedsamix-cuda.so $(@D)/libmedsamix-cuda.so
	$(call say,TEST,$@)
	$(Q)$(CC) $(CFLAGS) $(BASE_CFLAGS) -o $@ $< $(SUPPORT) $(STATIC) $(CHECK_FLAGS) $(LIBS)
GPU_BENCH := $(sort $(wildcard tests/bench/gpu/*.c))
$(B)/gpu/bench: $(GPU_BENCH) tests/bench/gpu/bench.h $(SUPPORT) $(STATIC) cuda
	@mkdir -p $(@D)
	@ln -sf ../libmedsamix-cuda.so $(@D)/libmedsamix-cuda.so
	$(call say,BENCH,$@)
	$(Q)$(CC) $(CFLAGS) $(BASE_CFLAGS) -o $@ $(GPU_BENCH) $(SUPPORT) $(STATIC) $(CHECK_FLAGS) $(LIBS)

-include $(CUDA_OBJECTS:.o=.d)
