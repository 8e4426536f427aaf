/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged files, lack of memory, limits: always a status and a text, never more. */
#include "core/random.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static msx_ctx *ctx;

static void setup(void) {
    ctx = test_ctx();
}
static void teardown(void) {
    msx_ctx_free(ctx);
}

static const char *const golden[] = {
    "golden/containers/zip.pth",
    "golden/containers/legacy.pth",
    "golden/containers/training_state.pt",
    "golden/a/model.safetensors",
};

typedef struct copy {
    int fd;
    char path[64];
    unsigned char *bytes;
    size_t n;
} copy;

/* A copy that exists only in memory but has a path. */
static copy make_copy(const char *name) {
    copy m = {.fd = memfd_create("copy", 0)};
    FILE *f = fopen(test_path(name), "rb");
    ck_assert(f && m.fd >= 0);
    fseek(f, 0, SEEK_END);
    m.n = (size_t)ftell(f);
    rewind(f);
    m.bytes = malloc(m.n);
    ck_assert_uint_eq(fread(m.bytes, 1, m.n, f), m.n);
    fclose(f);
    ck_assert_int_eq(write(m.fd, m.bytes, m.n), m.n);
    snprintf(m.path, sizeof m.path, "/proc/self/fd/%d", m.fd);
    return m;
}

static void free_copy(copy *m) {
    close(m->fd);
    free(m->bytes);
}

/* Open and read everything; with `sam`, it must also be a SAM. The first failure. */
static msx_status use(msx_ctx *with, const char *path, bool sam) {
    msx_checkpoint *c;
    msx_arch *a = NULL;
    msx_status status = msx_checkpoint_open(&c, with, path);
    if (status < 0) return status;
    if (sam) status = msx_arch_infer(&a, with, c);
    msx_arch_free(a);
    for (int64_t i = 0; status == MSX_OK && i < msx_checkpoint_count(c); i++) {
        int64_t n = msx_checkpoint_elements(c, i);
        float *out = malloc((size_t)n * sizeof *out + 1);
        status = msx_checkpoint_read(c, i, out, n);
        free(out);
    }
    msx_checkpoint_free(c);
    return status;
}

static void expect_bad_input(msx_status status, const char *what, size_t at) {
    ck_assert_msg(status == MSX_E_FORMAT || status == MSX_E_UNSUPPORTED || status == MSX_E_SHAPE,
                  "%s %zu: %s: %s", what, at, msx_status_name(status), msx_ctx_error(ctx));
}

START_TEST(every_truncated_file_is_refused) {
    copy m = make_copy(golden[_i]);
    for (size_t n = 0; n < m.n; n += n < 300 || m.n - n < 100 ? 1 : m.n / 200) {
        ck_assert_int_eq(ftruncate(m.fd, 0), 0);
        ck_assert_int_eq(pwrite(m.fd, m.bytes, n, 0), n);
        expect_bad_input(use(ctx, m.path, true), "cut at", n);
    }
    free_copy(&m);
}
END_TEST

/* A flipped bit of a torch zip is noticed wherever something depends on it: all of data is under a
 * checksum. The other containers have none, a flipped value stays a value there. */
START_TEST(flipped_bits_are_refused_or_harmless) {
    copy m = make_copy(golden[_i]);
    int noticed = 0;
    for (int trial = 0; trial < 300; trial++) {
        uint32_t random[4];
        msx__philox(7, (uint64_t)_i, (uint64_t)trial, random);
        /* Half of them in the directory: the first or last twentieth of the file. */
        size_t at = random[0] % m.n, part = m.n / 20;
        if (trial % 4 == 0) at = random[0] % part;
        if (trial % 4 == 1) at = m.n - 1 - random[0] % part;
        unsigned char flipped = (unsigned char)(m.bytes[at] ^ 1u << random[1] % 8);
        ck_assert_int_eq(pwrite(m.fd, &flipped, 1, (off_t)at), 1);
        msx_status status = use(ctx, m.path, true);
        if (status < 0) expect_bad_input(status, "flipped", at);
        noticed += status < 0;
        ck_assert_int_eq(pwrite(m.fd, m.bytes + at, 1, (off_t)at), 1);
    }
    ck_assert_int_eq(use(ctx, m.path, true), MSX_OK);
    ck_assert_int_ge(noticed, _i == 0 || _i == 2 ? 250 : 40);
    free_copy(&m);
}
END_TEST

START_TEST(no_allocation_failure_is_lost_while_opening) {
    static const char *const files[] = {
        "fuzz/corpus/torch_zip/valid_trainer.pth",
        "fuzz/corpus/torch_legacy/valid_python2.pth",
        "fuzz/corpus/torch_zip/valid_nested.pth",
        "fuzz/corpus/torch_zip/valid_meta.pth",
        "fuzz/corpus/torch_zip/valid_strided.pth",
        "fuzz/corpus/safetensors/valid_hf.safetensors",
        "fuzz/corpus/safetensors/valid_meta.safetensors",
    };
    for (size_t f = 0; f < sizeof files / sizeof *files; f++)
        for (int for_ever = 0; for_ever < 2; for_ever++)
            for (int64_t n = 0;; n++) {
                test_allocator a;
                msx_ctx *small;
                test_allocator_init(&a, -1, for_ever);
                ck_assert_int_eq(msx_ctx_create(&small, &a.table), MSX_OK);
                a.fail_at = a.calls + n;
                msx_status status = use(small, test_path(files[f]), false);
                bool reached = a.calls > a.fail_at;
                ck_assert_msg(reached ? status == MSX_E_NOMEM : status != MSX_E_NOMEM,
                              "%s, allocation %d: %s", files[f], (int)n, msx_status_name(status));
                a.fail_at = -1;
                msx_ctx_free(small);
                ck_assert_int_eq(a.live, 0);
                if (!reached) break;
            }
}
END_TEST

START_TEST(limits_are_kept) {
    msx_checkpoint *c;
    test_ok(ctx, msx_ctx_set_limit(ctx, MSX_LIMIT_TENSORS, 100));
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
        test_fails(ctx, msx_checkpoint_open(&c, ctx, test_path(golden[i])), MSX_E_LIMIT, "100");
    test_ok(ctx, msx_ctx_set_limit(ctx, MSX_LIMIT_TENSORS, 1000));
    test_ok(ctx, msx_ctx_set_limit(ctx, MSX_LIMIT_TENSOR_BYTES, 6000));
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
        test_fails(ctx, msx_checkpoint_open(&c, ctx, test_path(golden[i])), MSX_E_LIMIT,
                   "larger than the limit of 6000 bytes");
    test_ok(ctx, msx_ctx_set_limit(ctx, MSX_LIMIT_HEADER_BYTES, 1000));
    test_fails(ctx, msx_checkpoint_open(&c, ctx, test_path(golden[0])), MSX_E_LIMIT, "1000");
    test_fails(ctx, msx_checkpoint_open(&c, ctx, test_path(golden[3])), MSX_E_LIMIT, "1000");
}
END_TEST

int main(void) {
    Suite *s = suite_create("damage");
    TCase *t = tcase_create("damage");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, every_truncated_file_is_refused, 0, 4);
    tcase_add_loop_test(t, flipped_bits_are_refused_or_harmless, 0, 4);
    tcase_add_test(t, no_allocation_failure_is_lost_while_opening);
    tcase_add_test(t, limits_are_kept);
    suite_add_tcase(s, t);
    return test_run(s);
}
