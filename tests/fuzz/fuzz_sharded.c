/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the index of two files that are what the corpus calls shard-a and shard-b. */
#include "fuzz_checkpoint.h"

/* In memory where that is offered: a fuzzer writes thousands of files a second. */
static char memory[] = "/dev/shm/medsamix-fuzz-XXXXXX", disk[] = "/tmp/medsamix-fuzz-XXXXXX";
static char *folder, files[3][64];

static void remove_folder(void) {
    for (int i = 0; i < 3; i++) unlink(files[i]);
    rmdir(folder);
}

static void write_file(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) abort();
}

static void write_shard(const char *path, const char *header, size_t floats) {
    char bytes[512] = {0};
    uint64_t length = strlen(header);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    write_file(path, bytes, 8 + length + 4 * floats);
}

static void make_folder(void) {
    static const char *const names[] = {"shard-a.safetensors", "shard-b.safetensors", "index.json"};
    folder = mkdtemp(memory);
    if (!folder) folder = mkdtemp(disk);
    if (!folder) abort();
    for (int i = 0; i < 3; i++) snprintf(files[i], sizeof files[i], "%s/%s", folder, names[i]);
    write_shard(files[0],
                "{\"w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
                "\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}",
                4);
    write_shard(files[1],
                "{\"module.mask_decoder.u\":"
                "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
                2);
    atexit(remove_folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!*files[0]) make_folder();
    write_file(files[2], data, size);
    (void)fuzz_path_by_rule(files[2], MSX_PICKLE_KNOWN);
    return 0;
}
