/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a file of torch before 1.6. Bytes that do not begin with its magic number get the first
 * three pickles in front of them, so that a fuzzer begins with the object, the list of storage keys and
 * the data. */
#include "fuzz_checkpoint.h"

#define MAGIC   "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19."
#define VERSION "\x80\x02M\xe9\x03."
#define MACHINE "\x80\x02}(X\x0d\0\0\0little_endian\x88u."

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char head[] = MAGIC VERSION MACHINE;
    enum { HEAD = sizeof head - 1 };
    fuzz_checkpoint(data, size);
    if (size >= sizeof MAGIC - 1 && !memcmp(data, MAGIC, sizeof MAGIC - 1)) return 0;
    uint8_t *file = malloc(HEAD + size);
    if (!file) abort();
    memcpy(file, head, HEAD);
    if (size) memcpy(file + HEAD, data, size);
    fuzz_checkpoint(file, HEAD + size);
    free(file);
    return 0;
}
