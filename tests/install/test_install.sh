#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An installed tree serves a C and a C++ program through pkg-config, and exports only msx_ symbols.
set -eu
B=${B:-build}
case ${MSX_SANITIZED:-} in 1) echo "sanitized libraries are not installed"; exit 77 ;; esac
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# With the CUDA plug-in where it has been built; compiling it here would take a minute.
cuda=
[ -e "$B/libmedsamix-cuda.so" ] || cuda=NVCC=
make --no-print-directory install B="$B" DESTDIR="$root" prefix=/opt/msx $cuda >/dev/null
[ -n "$cuda" ] || [ -e "$root/opt/msx/lib/libmedsamix-cuda.so" ]
export PKG_CONFIG_PATH=$root/opt/msx/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
[ "$(pkg-config --modversion medsamix)" = "$(sed -n 's/.*MSX_VERSION_STRING "\(.*\)"/\1/p' include/medsamix/version.h)" ]

cat >"$root/user.c" <<'C'
#include <medsamix/medsamix.h>
#include <stdio.h>
int main(void) {
    msx_ctx *ctx;
    if (msx_ctx_create(&ctx, NULL) < 0 || msx_version() != MSX_VERSION) return 1;
    msx_checkpoint *c;
    int status = msx_checkpoint_open(&c, ctx, "/nonexistent.pth");
    puts(msx_ctx_error(ctx));
    msx_ctx_free(ctx);
    return status != MSX_E_IO;
}
C
cat >"$root/user.cpp" <<'C'
#include <medsamix/medsamix.hpp>
#include <iostream>
int main() {
    msx::context ctx;
    try {
        msx::checkpoint::open(ctx, "/nonexistent.pth");
    } catch (const msx::error &e) {
        std::cout << e.what() << "\n";
        return e.status() != MSX_E_IO;
    }
    return 1;
}
C
gcc -std=c11 -Wall -Wextra -Werror -o "$root/user_c" "$root/user.c" $(pkg-config --cflags --libs medsamix)
g++ -std=c++17 -Wall -Wextra -Werror -o "$root/user_cpp" "$root/user.cpp" $(pkg-config --cflags --libs medsamix)
export LD_LIBRARY_PATH=$root/opt/msx/lib
"$root/user_c" | grep -q '^/nonexistent.pth: '
"$root/user_cpp" | grep -q '^/nonexistent.pth: '
# Static linking, with the private libraries, where they are all there (OpenBLAS names libgfortran).
private=$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --static --libs-only-l medsamix | sed 's/-lmedsamix//')
if echo 'int main(void) { return 0; }' | gcc -x c -o "$root/nothing" - $private 2>/dev/null; then
    gcc -std=c11 -o "$root/user_static" "$root/user.c" $(pkg-config --cflags medsamix) \
        "$root/opt/msx/lib/libmedsamix.a" $private -fopenmp
    env -u LD_LIBRARY_PATH "$root/user_static" | grep -q '^/nonexistent.pth: '
else
    echo "static linking left out: not all of $private are installed"
fi
"$root/opt/msx/bin/medsamix" --version | grep -q medsamix

library=$root/opt/msx/lib/libmedsamix.so.0
foreign=$(nm -D --defined-only "$library" | awk '$2 != "A" && $3 !~ /^msx_/ { print $3 }')
[ -z "$foreign" ] || { echo "exported without msx_: $foreign"; exit 1; }
readelf -d "$library" | grep -q 'SONAME.*libmedsamix.so.0'
# Every declared function is there.
for name in $(sed -n 's/^MSX_API [^(]*[ *]\(msx_[a-z0-9_]*\)(.*/\1/p' include/medsamix/*.h include/medsamix/sys/*.h); do
    nm -D --defined-only "$library" | grep -q " T $name@@" || { echo "declared but missing: $name"; exit 1; }
done
# The library never prints, exits, aborts or reads the environment.
for name in exit _exit abort printf puts putchar perror getenv secure_getenv setenv srand rand system; do
    nm -D --undefined-only "$library" | grep -qE " U $name(@|\$)" && { echo "the library uses $name"; exit 1; }
done
echo ok
