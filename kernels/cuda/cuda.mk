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
NVCC_FLAGS := -std=c++20 -O3 -lineinfo -Werror all-warnings \
  -Xcompiler -fPIC$(,)-fvisibility=hidden$(,)-Wall$(,)-Wextra -I.

#: make cuda          build the CUDA plug-in, libmedsamix-cuda.so (part of `make` where nvcc is found)
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

-include $(CUDA_OBJECTS:.o=.d)
