/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (nettle) for provenance, FNV-1a for keys. */
#include "core/core.h"

#include <nettle/sha2.h>
#include <stdio.h>

_Static_assert(sizeof(struct sha256_ctx) <= sizeof(msx__sha256), "room for nettle's state");

void msx__sha256_begin(msx__sha256 *h) {
    sha256_init((struct sha256_ctx *)h);
}

void msx__sha256_add(msx__sha256 *h, const void *bytes, size_t n) {
    sha256_update((struct sha256_ctx *)h, n, bytes);
}

void msx__sha256_end(msx__sha256 *h, uint8_t out[MSX__SHA256_BYTES]) {
    sha256_digest((struct sha256_ctx *)h, MSX__SHA256_BYTES, out);
}

void msx__sha256_hex(msx__sha256 *h, char out[MSX__SHA256_HEX]) {
    uint8_t digest[MSX__SHA256_BYTES];
    msx__sha256_end(h, digest);
    for (size_t i = 0; i < sizeof digest; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

uint64_t msx__hash64(const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}
