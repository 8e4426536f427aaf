# SPDX-License-Identifier: Apache-2.0
# libmedsamix: see README.md. `make` builds the library and the program; `make help` lists the rest.

VERSION := $(shell sed -n 's/.*MSX_VERSION_STRING "\(.*\)"/\1/p' include/medsamix/version.h)
SOVERSION := 0
B ?= build

prefix ?= /usr/local
bindir ?= $(prefix)/bin
includedir ?= $(prefix)/include
libdir ?= $(prefix)/lib
mandir ?= $(prefix)/share/man

CC ?= gcc
CXX ?= g++
CFLAGS ?= -O2 -g
PACKAGES := zlib libpng jansson yaml-0.1 sqlite3 nettle openblas
# Asked at first use, in a recipe, and then kept: `make deps test` on a fresh machine reads this file
# before the packages are there.
ask = $(eval $(1) := $(shell $(2)))$($(1))
OPTIONAL = $(call ask,OPTIONAL,for p in libjpeg libpq; do pkg-config --exists $$p 2>/dev/null && echo $$p; done)
PACKAGE_CFLAGS = $(call ask,PACKAGE_CFLAGS,pkg-config --cflags $(PACKAGES) $(OPTIONAL))
PACKAGE_LIBS = $(call ask,PACKAGE_LIBS,pkg-config --libs $(PACKAGES) $(OPTIONAL))
PROGRAM_LIBS = $(call ask,JANSSON_LIBS,pkg-config --libs jansson) -lm -pthread
CHECK_FLAGS = $(call ask,CHECK_FLAGS,pkg-config --cflags --libs check)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
  -Wwrite-strings -Wundef -Wvla -Wcast-align -Wformat=2 -Wno-format-nonliteral
OPENMP ?= -fopenmp
# No contraction: the same products and sums on every machine.
BASE_CFLAGS = -std=c11 -D_GNU_SOURCE -fvisibility=hidden -fPIC -ffp-contract=off -pthread \
  $(WARNINGS) $(OPENMP) -Iinclude -Ilib -I. -Itests $(PACKAGE_CFLAGS) \
  $(if $(filter libjpeg,$(OPTIONAL)),-DMSX_HAVE_JPEG) \
  $(if $(filter libpq,$(OPTIONAL)),-DMSX_HAVE_POSTGRES) $(WERROR) $(SANITIZE)
KERNEL_CFLAGS := -O3 -fno-math-errno -fno-trapping-math
LIBS = $(PACKAGE_LIBS) $(OPENMP) -pthread -ldl -lm

LIB_SOURCES := $(sort $(wildcard lib/*/*.c lib/*/*/*.c))
KERNEL_SOURCES := $(sort $(wildcard kernels/cpu/*.c))
LIB_OBJECTS := $(patsubst %.c,$(B)/%.o,$(LIB_SOURCES) $(KERNEL_SOURCES))
PROGRAM_OBJECTS := $(patsubst %.c,$(B)/%.o,$(sort $(wildcard examples/medsamix/*.c)))
EXAMPLES := $(patsubst examples/%.c,$(B)/examples/%,$(sort $(wildcard examples/*.c))) \
  $(patsubst examples/%.cpp,$(B)/examples/%,$(sort $(wildcard examples/*.cpp)))
SUPPORT_OBJECTS := $(patsubst %.c,$(B)/%.o,$(sort $(wildcard tests/support/*.c)))
TESTS := $(patsubst tests/%.c,$(B)/tests/%,$(sort $(wildcard tests/*/test_*.c)))
TEST_SCRIPTS := $(sort $(wildcard tests/*/test_*.sh))
BENCHES := $(patsubst tests/bench/%.c,$(B)/bench/%,$(sort $(wildcard tests/bench/*.c)))
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_REPLAYS := $(FUZZERS:%=$(B)/fuzz/replay_%)

STATIC := $(B)/libmedsamix.a
SUPPORT := $(B)/libsupport.a
SHARED := $(B)/libmedsamix.so.$(SOVERSION)
PROGRAM := $(B)/medsamix

, := ,
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),@:,@printf '  %-6s %s\n' $(1) $(2))

.PHONY: all help
all: $(STATIC) $(SHARED) $(PROGRAM) cuda

help:
	@sed -n 's/^#: //p' Makefile kernels/cuda/cuda.mk tests/tests.mk

$(B)/kernels/%.o: kernels/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) $(BASE_CFLAGS) $(KERNEL_CFLAGS) -MMD -MP -c -o $@ $<
# The merge methods and the optimizers' models have hot loops of their own.
$(B)/lib/merge/%.o $(B)/lib/optimize/%.o: BASE_CFLAGS += $(KERNEL_CFLAGS)
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) $(BASE_CFLAGS) -MMD -MP -c -o $@ $<

$(STATIC): $(LIB_OBJECTS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(SHARED): $(LIB_OBJECTS) lib/libmedsamix.map
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) -shared -Wl,-soname,libmedsamix.so.$(SOVERSION) \
	  -Wl,--version-script,lib/libmedsamix.map -Wl,-z,defs $(SANITIZE) -o $@ $(LIB_OBJECTS) $(LIBS)
	@ln -sf libmedsamix.so.$(SOVERSION) $(B)/libmedsamix.so
# The program uses the shared library and finds it beside itself in the build folder.
$(PROGRAM): $(PROGRAM_OBJECTS) $(SHARED)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $(PROGRAM_OBJECTS) -L$(B) -lmedsamix \
	  -Wl,-rpath,'$$ORIGIN' $(PROGRAM_LIBS)

#: make deps          install the Debian packages that building and testing need
#: make deps-oracles  install the reference implementations that some tests compare with
.PHONY: deps deps-oracles
deps:
	tools/install-packages tools/packages.txt
deps-oracles:
	tools/install-packages tools/packages-oracles.txt

#: make demo          search, merge and score on the bundled images; report in build/demo
.PHONY: demo
demo: $(PROGRAM)
	tools/demo $(B)

#: make install       DESTDIR= prefix= bindir= includedir= libdir= mandir=
.PHONY: install
install: all
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(includedir)/medsamix/sys \
	  $(DESTDIR)$(mandir)/man1
	install -m 644 include/medsamix/*.h include/medsamix/*.hpp $(DESTDIR)$(includedir)/medsamix/
	install -m 644 include/medsamix/sys/*.h $(DESTDIR)$(includedir)/medsamix/sys/
	install -m 644 $(STATIC) $(DESTDIR)$(libdir)/
	install -m 755 $(SHARED) $(DESTDIR)$(libdir)/libmedsamix.so.$(VERSION)
	ln -sf libmedsamix.so.$(VERSION) $(DESTDIR)$(libdir)/libmedsamix.so.$(SOVERSION)
	ln -sf libmedsamix.so.$(SOVERSION) $(DESTDIR)$(libdir)/libmedsamix.so
	sed -e 's|@prefix@|$(prefix)|' -e 's|@includedir@|$(includedir)|' -e 's|@libdir@|$(libdir)|' \
	  -e 's|@version@|$(VERSION)|' -e 's|@requires@|$(PACKAGES) $(OPTIONAL)|' \
	  pkgconfig/medsamix.pc.in > $(DESTDIR)$(libdir)/pkgconfig/medsamix.pc
	$(CC) $(CFLAGS) -o $(DESTDIR)$(bindir)/medsamix $(PROGRAM_OBJECTS) -L$(B) -lmedsamix \
	  -Wl,-rpath,$(libdir) $(PROGRAM_LIBS)
	$(if $(NVCC),install -m 755 $(CUDA_PLUGIN) $(DESTDIR)$(libdir)/)
	install -m 644 docs/man/*.1 $(DESTDIR)$(mandir)/man1/

.PHONY: clean
clean:
	rm -rf build

include kernels/cuda/cuda.mk
include tests/tests.mk

# With -j, nothing is built before the packages are there.
ifneq ($(filter deps,$(MAKECMDGOALS)),)
$(LIB_OBJECTS) $(PROGRAM_OBJECTS) $(SUPPORT_OBJECTS) $(ON_CPU_OBJECTS) $(TESTS) $(EXAMPLES) $(FUZZ_REPLAYS): | deps
endif

-include $(LIB_OBJECTS:.o=.d) $(PROGRAM_OBJECTS:.o=.d) $(SUPPORT_OBJECTS:.o=.d)
