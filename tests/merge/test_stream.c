/* SPDX-License-Identifier: Apache-2.0 */
/* Merging in bounded memory: the bits of the merge in memory whatever the ring and the threads, hashes
 * of inputs in any order, a known peak, and nothing left behind by what fails on the way. */
#include "core/hash_queue.h"
#include "merge/pipeline.h"
#include "merge/small_sam.h"
#include "support/vit_files.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MODELS = 3 };
static const char *const names[MODELS] = {"base", "ft0", "ft1"};

/* Wide models have tensors that are larger than a piece: they do not stream, unless the method is
 * elementwise. Those of others fit into one. */
enum { NARROW, WIDE, WIDTHS };
static msx_checkpoint *model_of(msx_ctx *c, int width, uint32_t seed) {
    msx_checkpoint *m;
    test_ok(c, msx_checkpoint_create(&m, c));
    test_ok(c, sam_of_width(m, c, width == WIDE ? 96 : 8, 3, 2, seed));
    return m;
}

static msx_ctx *ctx;
static const char *folder;
static char files[MODELS][128], out[128];
static const char *const paths[MODELS] = {files[0], files[1], files[2]};

static void set_up(void) {
    ctx = test_ctx();
    folder = test_make_folder();
    snprintf(out, sizeof out, "%s/merged.safetensors", folder);
    for (int k = 0; k < MODELS; k++)
        snprintf(files[k], sizeof files[k], "%s/%d.safetensors", folder, k);
}
static void tear_down(void) {
    test_remove_folder(folder);
    msx_ctx_free(ctx);
}

static void save_models(msx_ctx *c, int width) {
    for (uint32_t k = 0; k < MODELS; k++) {
        msx_checkpoint *m = model_of(c, width, k + 1);
        test_ok(c, msx_checkpoint_save(m, paths[k], NULL));
        msx_checkpoint_free(m);
    }
}

static const msx_save_options draft = {.struct_size = sizeof draft, .draft = 1};
/* A merge, or a draft of it. */
static const msx_save_options *const kinds[] = {NULL, &draft};

/* One method everywhere, its defaults but for what makes it do something. */
static msx_plan *plan_of(const char *method) {
    msx_plan *plan;
    char text[256];
    const char *more =
        strstr(method, "dare") || strstr(method, "della") || strstr(method, "breadcrumbs")
            ? ", density: 0.6, lambda: 0.7"
            : "";
    snprintf(text, sizeof text, "medsamix: 1\nmodels: [ft0, ft1]\ngroups: {'*': {method: %s%s}}\n",
             method, more);
    test_ok(ctx, msx_plan_parse(&plan, ctx, text, strlen(text), "plan"));
    return plan;
}

static void expect_only_inputs(void) {
    char command[256];
    snprintf(command, sizeof command,
             "[ \"$(ls -A %s)\" = \"$(printf '0.safetensors\\n1.safetens"
             "ors\\n2.safetensors')\" ]",
             folder);
    ck_assert_msg(system(command) == 0, "something is left in %s", folder);
}

/* ---- the same bits ------------------------------------------------------------------------------ */

/* Every tensor of a pipeline with pieces and a ring of that size is the target's. */
static void expect_bits(msx_checkpoint *const *inputs, const msx_plan *plan, int64_t piece,
                        int64_t ahead, int threads, bool unhashed, msx_checkpoint *target) {
    msx__schedule schedule;
    msx__pipeline *p;
    msx_arch *arch;
    test_ok(ctx, msx_ctx_set_threads(ctx, threads));
    test_ok(ctx, msx_arch_infer(&arch, ctx, inputs[0]));
    test_ok(ctx, msx__schedule_create(&schedule, plan, arch, names, MODELS));
    const msx__pipeline_job job = {.ctx = ctx,
                                   .n = MODELS,
                                   .inputs = inputs,
                                   .arch = arch,
                                   .schedule = &schedule,
                                   .draft = unhashed,
                                   .piece = piece,
                                   .ahead = ahead};
    test_ok(ctx, msx__pipeline_start(&p, &job));
    for (int64_t i = 0; i < msx_arch_tensor_count(arch); i++) {
        int64_t at = msx_checkpoint_find(target, msx_arch_tensor_name(arch, i)), first = 0, n;
        do {
            const float *values;
            test_ok(ctx, msx__pipeline_next(p, i, first, &values, &n));
            ck_assert_msg(!memcmp(values, msx_checkpoint_data(target, at) + first,
                                  (size_t)n * sizeof *values),
                          "%s, piece %lld, ahead %lld, %d threads, draft %d: %s, from %lld",
                          msx_plan_entry_method(plan, 0), (long long)piece, (long long)ahead,
                          threads, unhashed, msx_arch_tensor_name(arch, i), (long long)first);
            first += n;
        } while (first < msx_checkpoint_elements(target, at));
        ck_assert_int_eq(first, msx_checkpoint_elements(target, at));
    }
    test_ok(ctx, msx__pipeline_finish(p));
    msx__pipeline_free(p);
    msx__schedule_free(&schedule);
    msx_arch_free(arch);
}

START_TEST(every_method_has_the_bits_of_the_merge_in_memory) {
    static const int64_t pieces[] = {60, 300, MSX__PIPELINE_PIECE};
    static const int64_t ahead[] = {0, 1, 1000, MSX__PIPELINE_AHEAD};
    static const int threads[] = {1, 2, 3, 5};
    msx_checkpoint *inputs[MODELS];
    msx_merger *m;
    for (uint32_t k = 0; k < MODELS; k++) inputs[k] = small_sam(ctx, 3, 2, k + 1);
    /* equal to the end, and equal at its beginning */
    static const char *const alike[] = {"image_encoder.blocks.1.mlp.lin1.weight",
                                        "image_encoder.neck.2.weight"};
    for (int k = 1; k < MODELS; k++)
        for (int i = 0; i < 2; i++) {
            int64_t t = msx_checkpoint_find(inputs[0], alike[i]);
            size_t n = (size_t)msx_checkpoint_elements(inputs[0], t) - (i ? 5 : 0);
            memcpy(msx_checkpoint_data(inputs[k], t), msx_checkpoint_data(inputs[0], t),
                   n * sizeof(float));
        }
    test_ok(ctx, msx_merger_create(&m, ctx, inputs, names, MODELS, false));
    const char *method = msx_merge_method_at(ctx, _i)->name;
    msx_plan *plan = plan_of(method);
    msx_checkpoint *target;
    test_ok(ctx, msx_checkpoint_create(&target, ctx));
    test_ok(ctx, msx_merger_run(m, plan, NULL, target, NULL));
    for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++)
        for (size_t a = 0; a < sizeof ahead / sizeof *ahead; a++)
            for (size_t t = 0; t < 2 * sizeof threads / sizeof *threads; t++)
                expect_bits(inputs, plan, pieces[k], ahead[a], threads[t / 2], t % 2, target);
    msx_checkpoint_free(target);
    msx_plan_free(plan);
    msx_merger_free(m);
    for (int k = 0; k < MODELS; k++) msx_checkpoint_free(inputs[k]);
}
END_TEST

static int64_t method_count(void) {
    msx_ctx *c;
    if (msx_ctx_create(&c, NULL) < 0) return 0;
    int64_t n = msx_merge_method_count(c);
    msx_ctx_free(c);
    return n;
}

START_TEST(files_have_the_same_bytes_for_every_number_of_threads) {
    static const int threads[] = {2, 3, 5};
    char first[128], command[400];
    save_models(ctx, _i % WIDTHS);
    msx_plan *plan = plan_of(_i / WIDTHS ? "task_arithmetic" : "dare_ties");
    for (int pth = 0; pth < 2; pth++)
        for (int i = 0; i < 4; i++) {
            bool hf = i % 2;
            const msx_save_options o = {.struct_size = sizeof o,
                                        .draft = i / 2,
                                        .dtype = hf ? MSX_DTYPE_F16 : MSX_DTYPE_F32,
                                        .scheme = hf ? "hf" : "official"};
            snprintf(first, sizeof first, "%s/first%s", folder, pth ? ".pth" : ".safetensors");
            snprintf(out, sizeof out, "%s/out%s", folder, pth ? ".pth" : ".safetensors");
            test_ok(ctx, msx_ctx_set_threads(ctx, 1));
            test_ok(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, first, &o, false));
            for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
                test_ok(ctx, msx_ctx_set_threads(ctx, threads[t]));
                test_ok(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, &o, false));
                snprintf(command, sizeof command, "cmp %s %s", first, out);
                ck_assert_int_eq(system(command), 0);
            }
            msx_merge_check check = {.struct_size = sizeof check};
            test_ok(ctx, msx_merge_verify(&check, ctx, out, paths, names, MODELS));
            ck_assert_int_eq(check.equal, 1);
        }
    msx_plan_free(plan);
}
END_TEST

/* ---- hashes ------------------------------------------------------------------------------------- */

static void expect_digests(void) {
    msx_checkpoint *merged;
    test_ok(ctx, msx_checkpoint_open(&merged, ctx, out));
    for (int k = 0; k < MODELS; k++) {
        char key[64], digest[MSX__SHA256_HEX];
        snprintf(key, sizeof key, "medsamix.input.%s", names[k]);
        msx_checkpoint *input; /* opened anew: no hash is kept from the merge */
        test_ok(ctx, msx_checkpoint_open(&input, ctx, paths[k]));
        test_ok(ctx, msx_checkpoint_sha256(input, digest));
        msx_checkpoint_free(input);
        ck_assert_str_eq(msx_checkpoint_meta(merged, key), digest);
    }
    msx_checkpoint_free(merged);
}

/* Copy a model, its tensors in backward order between tensors that no SAM has. */
static void save_backward(const char *path, int width, uint32_t seed) {
    static const float more[3000] = {1};
    msx_checkpoint *from = model_of(ctx, width, seed), *to;
    const int64_t dims[] = {3000};
    test_ok(ctx, msx_checkpoint_create(&to, ctx));
    test_ok(ctx, msx_checkpoint_add(to, "optimizer.first", 1, dims, more));
    for (int64_t i = msx_checkpoint_count(from); i-- > 0;) {
        int64_t shape[MSX_MAX_RANK];
        for (int a = 0; a < msx_checkpoint_rank(from, i); a++)
            shape[a] = msx_checkpoint_dim(from, i, a);
        test_ok(ctx,
                msx_checkpoint_add(to, msx_checkpoint_name(from, i), msx_checkpoint_rank(from, i),
                                   shape, msx_checkpoint_data(from, i)));
    }
    test_ok(ctx, msx_checkpoint_add(to, "optimizer.last", 1, dims, more));
    test_ok(ctx, msx_checkpoint_save(to, path, NULL));
    msx_checkpoint_free(from);
    msx_checkpoint_free(to);
}

/* Models beside the base whose tensors lie elsewhere, in a zip, in another type, and in shards. */
START_TEST(inputs_are_hashed_in_whatever_order_they_hold_their_tensors) {
    msx_plan *plan = plan_of(_i / WIDTHS ? "linear" : "ties");
    for (int threads = 1; threads <= 4; threads++) {
        test_ok(ctx, msx_ctx_set_threads(ctx, threads));
        save_models(ctx, _i % WIDTHS);
        save_backward(paths[1], _i % WIDTHS, 2);
        snprintf(files[2], sizeof files[2], "%s/2.pth", folder);
        save_backward(paths[2], _i % WIDTHS, 3);
        test_ok(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, NULL, false));
        expect_digests();

        const msx_save_options half = {.struct_size = sizeof half, .dtype = MSX_DTYPE_F16};
        msx_checkpoint *c = model_of(ctx, _i % WIDTHS, 3);
        test_ok(ctx, msx_checkpoint_save(c, paths[2], &half));
        test_ok(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, NULL, false));
        expect_digests();

        const msx_save_options shards = {.struct_size = sizeof shards, .shard_bytes = 9000};
        snprintf(files[2], sizeof files[2], "%s/2.safetensors.index.json", folder);
        test_ok(ctx, msx_checkpoint_save(c, paths[2], &shards));
        test_ok(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, NULL, false));
        expect_digests();
        msx_checkpoint_free(c);
        snprintf(files[2], sizeof files[2], "%s/2.safetensors", folder);
    }
    msx_plan_free(plan);
}
END_TEST

/* The tensors of the result lie as those of the base, so that it is read from front to back. */
START_TEST(the_result_has_the_order_of_the_base) {
    msx_plan *plan = plan_of("linear");
    save_models(ctx, NARROW);
    save_backward(paths[0], NARROW, 1);
    test_ok(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, NULL, false));
    msx_checkpoint *base, *merged;
    test_ok(ctx, msx_checkpoint_open(&base, ctx, paths[0]));
    test_ok(ctx, msx_checkpoint_open(&merged, ctx, out));
    ck_assert_int_eq(msx_checkpoint_count(merged), msx_checkpoint_count(base) - 2);
    for (int64_t i = 0; i < msx_checkpoint_count(merged); i++)
        ck_assert_str_eq(msx_checkpoint_name(merged, i), msx_checkpoint_name(base, i + 1));
    msx_merge_check check = {.struct_size = sizeof check};
    test_ok(ctx, msx_merge_verify(&check, ctx, out, paths, names, MODELS));
    ck_assert_int_eq(check.equal, 1);
    msx_checkpoint_free(base);
    msx_checkpoint_free(merged);
    msx_plan_free(plan);
}
END_TEST

START_TEST(reads_in_any_order_hash_every_byte_once) {
    enum { N = 700001 };
    static unsigned char bytes[N], got[N];
    uint32_t state = 7;
    char digest[MSX__SHA256_HEX], expected[MSX__SHA256_HEX];
    for (int i = 0; i < N; i++) bytes[i] = (unsigned char)((state = state * 1664525u + 1) >> 24);
    test_ok(ctx, msx__write_whole(ctx, paths[0], bytes, N));
    test_ok(ctx, msx__file_sha256(ctx, paths[0], expected));
    for (int round = 0; round < 20; round++) {
        msx__file f;
        msx__file_tap tap;
        test_ok(ctx, msx__file_open(&f, ctx, paths[0]));
        msx__file_tap_begin(&tap);
        f.tap = &tap;
        for (int i = 0; i < round; i++) {
            state = state * 1664525u + 1013904223u;
            int64_t at = state % N, n = (state >> 8) % (uint32_t)(N - at + 1);
            if (i % 3)
                test_ok(ctx, msx__file_read(&f, at, got, (size_t)n));
            else
                test_ok(ctx, msx__file_read_lasting(&f, at, got, (size_t)n));
            ck_assert(!memcmp(got, bytes + at, (size_t)n));
            msx__file_tap *const taps[] = {&tap};
            if (i % 2 || i % 3) msx__file_tap_settle(taps, 1);
        }
        test_ok(ctx, msx__file_hash(&f, digest));
        ck_assert_str_eq(digest, expected);
        test_ok(ctx, msx__file_hash(&f, digest));
        ck_assert_str_eq(digest, expected);
        msx__file_close(&f);
    }
}
END_TEST

/* Messages of different lengths, in pieces that begin anywhere in a block. */
START_TEST(several_hashes_at_once_are_those_of_each_alone) {
    enum { MOST = 7, N = 5000 };
    static unsigned char bytes[MOST][N];
    uint32_t state = 3;
    for (int k = 0; k < MOST; k++)
        for (int i = 0; i < N; i++)
            bytes[k][i] = (unsigned char)((state = state * 1664525u + 1013904223u) >> 24);
    for (int round = 0; round < 200; round++) {
        msx__sha256 together[MOST], alone[MOST], *all[MOST];
        size_t n = (size_t)(1 + round % MOST), at[MOST] = {0};
        for (size_t k = 0; k < n; k++) {
            msx__sha256_begin(all[k] = &together[k]);
            msx__sha256_begin(&alone[k]);
        }
        for (int piece = 0; piece < 5; piece++) {
            const void *from[MOST];
            size_t size[MOST];
            for (size_t k = 0; k < n; k++) {
                state = state * 1664525u + 1013904223u;
                size[k] = (state >> 8) % (piece % 2 ? 70 : 1000);
                from[k] = bytes[k] + at[k];
                at[k] += size[k];
            }
            msx__sha256_add_all(all, from, size, n);
        }
        for (size_t k = 0; k < n; k++) {
            char got[MSX__SHA256_HEX], expected[MSX__SHA256_HEX];
            msx__sha256_add(&alone[k], bytes[k], at[k]);
            msx__sha256_hex(&alone[k], expected);
            msx__sha256_hex(&together[k], got);
            ck_assert_str_eq(got, expected);
        }
    }
}
END_TEST

/* Files read into places that are used again as soon as they are hashed, by whichever thread that was. */
START_TEST(a_queue_hashes_what_is_read) {
    enum { FILES = 5, PLACES = 3, PIECE = 5000, PIECES = 60 };
    static char places[FILES][PLACES][PIECE];
    msx__file f[FILES];
    msx__file_tap taps[FILES], *all[FILES];
    for (int k = 0; k < FILES; k++) {
        char path[160], bytes[PIECE];
        snprintf(path, sizeof path, "%s/bytes%d", folder, k);
        FILE *to = fopen(path, "wb");
        ck_assert_ptr_nonnull(to);
        for (int piece = 0; piece < PIECES - 7 * k; piece++) {
            for (int i = 0; i < PIECE; i++) bytes[i] = (char)(k + piece * i + i / 7);
            ck_assert_uint_eq(fwrite(bytes, 1, PIECE, to), PIECE);
        }
        ck_assert_int_eq(fclose(to), 0);
        test_ok(ctx, msx__file_open(&f[k], ctx, path));
        msx__file_tap_begin(&taps[k]);
        f[k].tap = all[k] = &taps[k];
    }
    size_t n = (size_t)_i / 3 + 1;
    msx__hash_queue *q;
    uint64_t marks[PLACES][FILES];
    test_ok(ctx, msx__hash_queue_start(&q, ctx, all, n, _i % 3 + 1));
    for (int piece = 0; piece < PIECES; piece++) {
        if (piece >= PLACES) msx__hash_queue_wait(q, marks[piece % PLACES]);
        for (size_t k = 0; k < n; k++)
            if (piece < PIECES - 7 * (int)k)
                test_ok(ctx, msx__file_read_lasting(&f[k], piece * PIECE, places[k][piece % PLACES],
                                                    PIECE));
        msx__hash_queue_mark(q, marks[piece % PLACES]);
        if (piece % 2) msx__hash_queue_go(q);
    }
    msx__hash_queue_stop(q);
    for (size_t k = 0; k < FILES; k++) {
        char got[MSX__SHA256_HEX], expected[MSX__SHA256_HEX];
        test_ok(ctx, msx__file_hash(&f[k], got));
        test_ok(ctx, msx__file_sha256(ctx, f[k].path, expected));
        ck_assert_str_eq(got, expected);
        msx__file_close(&f[k]);
    }
}
END_TEST

/* ---- what fails on the way -------------------------------------------------------------------- */

static int cancel_half_way(const msx_progress *p, void *payload) {
    (void)payload;
    if (p->done == p->total / 2) msx_ctx_cancel(ctx);
    return 0;
}

START_TEST(a_cancelled_merge_leaves_nothing) {
    save_models(ctx, _i);
    msx_plan *plan = plan_of("ties");
    msx_ctx_set_progress(ctx, cancel_half_way, NULL);
    for (int i = 0; i < 6; i++) {
        test_ok(ctx, msx_ctx_set_threads(ctx, i / 2 * 2 + 1));
        test_fails(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, kinds[i % 2], false),
                   MSX_E_CANCELLED, "cancelled");
        expect_only_inputs();
        msx_ctx_reset_cancel(ctx);
    }
    msx_plan_free(plan);
}
END_TEST

static int cut_input(const msx_progress *p, void *payload) {
    if (p->done == 0) ck_assert_int_eq(truncate(payload, 20000), 0);
    return 0;
}

START_TEST(an_input_that_is_cut_meanwhile_is_an_error) {
    msx_plan *plan = plan_of("linear");
    save_models(ctx, _i);
    msx_ctx_set_progress(ctx, cut_input, files[1]);
    test_ok(ctx, msx_ctx_set_threads(ctx, 1)); /* readers of their own could be through before */
    test_fails(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, NULL, false),
               MSX_E_FORMAT, "1.safetensors: byte 20000: the file became shorter");
    expect_only_inputs();
    msx_plan_free(plan);
}
END_TEST

/* Of several damaged weights the first one is named, whichever thread meets its own first. */
START_TEST(the_first_of_several_failures_is_reported) {
    msx_plan *plan = plan_of(_i / WIDTHS ? "linear" : "ties");
    for (uint32_t k = 0; k < MODELS; k++) {
        msx_checkpoint *c = model_of(ctx, _i % WIDTHS, k + 1);
        int64_t last = msx_checkpoint_find(c, "mask_decoder.iou_token.weight");
        int64_t norm = msx_checkpoint_find(c, "image_encoder.neck.1.weight");
        msx_checkpoint_data(c, k == 0 ? last : norm)[k] = k == 1 ? NAN : INFINITY;
        test_ok(ctx, msx_checkpoint_save(c, paths[k], NULL));
        msx_checkpoint_free(c);
    }
    for (int round = 0; round < 80; round++) {
        test_ok(ctx, msx_ctx_set_threads(ctx, 1 + round / 2 % 4));
        test_fails(ctx,
                   msx_merge_files(ctx, plan, paths, names, MODELS, out, kinds[round % 2], false),
                   MSX_E_FORMAT,
                   "1.safetensors: tensor image_encoder.neck.1.weight: element 1 is not a number");
    }
    expect_only_inputs();
    msx_plan_free(plan);
}
END_TEST

/* A flipped bit of a torch file is found by its checksum, though the tensor is read in pieces. */
START_TEST(a_damaged_tensor_is_found_in_pieces) {
    msx_plan *plan = plan_of("linear");
    save_models(ctx, WIDE);
    snprintf(files[1], sizeof files[1], "%s/1.pth", folder);
    msx_checkpoint *c = model_of(ctx, WIDE, 2);
    test_ok(ctx, msx_checkpoint_save(c, paths[1], NULL));
    msx_checkpoint_free(c);
    for (int threads = 1; threads <= 3; threads++) {
        test_ok(ctx, msx_ctx_set_threads(ctx, threads));
        test_ok(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, NULL, false));
        unlink(out);
    }
    FILE *f = fopen(paths[1], "r+b");
    fseek(f, -120000, SEEK_END);
    int byte = fgetc(f);
    fseek(f, -1, SEEK_CUR);
    fputc(byte ^ 4, f);
    ck_assert_int_eq(fclose(f), 0);
    for (int i = 0; i < 6; i++) {
        test_ok(ctx, msx_ctx_set_threads(ctx, 1 + i / 2));
        test_fails(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, kinds[i % 2], false),
                   MSX_E_FORMAT, "the checksum of tensor");
        ck_assert_int_ne(access(out, F_OK), 0);
    }
    msx_plan_free(plan);
}
END_TEST

START_TEST(a_full_disk_leaves_nothing) {
    save_models(ctx, _i);
    msx_plan *plan = plan_of("linear");
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small = {30000, RLIM_INFINITY};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 6; i++) {
        test_ok(ctx, msx_ctx_set_threads(ctx, 1 + i / 2));
        test_fails(ctx, msx_merge_files(ctx, plan, paths, names, MODELS, out, kinds[i % 2], false),
                   MSX_E_IO, "merged.safetensors: cannot be written: File too large");
        expect_only_inputs();
    }
    msx_plan_free(plan);
}
END_TEST

static msx_status merge_with(msx_ctx *c, int threads, bool unhashed) {
    const msx_save_options o = {.struct_size = sizeof o, .draft = unhashed};
    static const char text[] = "medsamix: 1\ngroups: {'*': {method: della}}\n";
    msx_plan *plan = NULL;
    msx_status status = msx_ctx_set_threads(c, threads);
    if (status >= 0) status = msx_plan_parse(&plan, c, text, strlen(text), "plan");
    if (status >= 0) status = msx_merge_files(c, plan, paths, names, MODELS, out, &o, false);
    msx_plan_free(plan);
    return status;
}

START_TEST(memory_that_runs_out_leaves_nothing) {
    save_models(ctx, _i / 2);
    for (int threads = 1; threads <= 3; threads += 2) {
        test_allocator a;
        msx_ctx *own;
        test_allocator_init(&a, -1, false);
        ck_assert_int_eq(msx_ctx_create(&own, &a.table), MSX_OK);
        test_ok(own, merge_with(own, threads, _i % 2));
        msx_ctx_free(own);
        ck_assert_int_eq(a.live, 0);
        unlink(out);
        /* which thread takes which tensor of a draft is chance, and so is how often its work grows */
        int64_t calls = _i % 2 ? a.calls * 3 / 4 : a.calls;
        for (int64_t fail_at = 1; fail_at < calls; fail_at += 7) {
            test_allocator_init(&a, fail_at, true);
            ck_assert_int_eq(msx_ctx_create(&own, &a.table), MSX_OK);
            ck_assert_int_eq(merge_with(own, threads, _i % 2), MSX_E_NOMEM);
            msx_ctx_free(own);
            ck_assert_int_eq(a.live, 0);
        }
        expect_only_inputs();
    }
}
END_TEST

/* ---- memory ----------------------------------------------------------------------------------- */

/* Run a command; its exit code, and the most memory that it ever held, in bytes. The caller must be
 * small itself: a child begins with the peak of its parent. */
static int run(const char *const *command, int64_t *peak) {
    struct rusage usage;
    int code;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stdout);
        execv(command[0], (char *const *)command);
        _exit(127);
    }
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(wait4(child, &code, 0, &usage), child);
    *peak = (int64_t)usage.ru_maxrss * 1024;
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static void save_full_size(void) {
    pid_t child = fork();
    if (child == 0) {
        msx_ctx *own = test_ctx();
        _exit(test_save_vit_b(own, paths, MODELS) < 0);
    }
    int code;
    ck_assert_int_eq(waitpid(child, &code, 0), child);
    ck_assert_int_eq(code, 0);
}

/* Three models of 375 MB: five times the largest tensor and 64 MB. */
START_TEST(the_peak_is_a_few_tensors) {
    static const char *const methods[] = {"ties", "sce"}, *const endings[] = {"safetensors", "pth"};
    const int64_t bound = 5 * TEST_VIT_B_LARGEST + 64 * 1000 * 1000;
    char program[256], models[2][160];
    if (getenv("MSX_SANITIZED")) return; /* shadow memory has a peak of its own */
    snprintf(program, sizeof program, "%s/medsamix", getenv("B") ? getenv("B") : "build");
    if (access(program, X_OK)) ck_abort_msg("%s is not there; build it", program);
    save_full_size();
    for (int k = 1; k < MODELS; k++)
        snprintf(models[k - 1], sizeof models[0], "%s=%s", names[k], paths[k]);
    for (int i = 0; i < 2; i++) {
        int64_t peak;
        snprintf(out, sizeof out, "%s/merged.%s", folder, endings[i]);
        const char *const command[] = {program,   "merge",  "-q",      "--method", methods[i],
                                       "--base",  files[0], "--model", models[0],  "--model",
                                       models[1], "-o",     out,       NULL};
        ck_assert_int_eq(run(command, &peak), 0);
        printf("%s: %.1f MB of %.1f\n", methods[i], 1e-6 * (double)peak, 1e-6 * (double)bound);
        ck_assert_int_le(peak, bound);
        ck_assert_int_eq(unlink(out), 0);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("stream");
    TCase *t = tcase_create("stream");
    tcase_set_timeout(t, 240);
    tcase_add_checked_fixture(t, set_up, tear_down);
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, every_method_has_the_bits_of_the_merge_in_memory, 0,
                        (int)method_count());
    tcase_add_loop_test(t, files_have_the_same_bytes_for_every_number_of_threads, 0, 2 * WIDTHS);
    tcase_add_loop_test(t, inputs_are_hashed_in_whatever_order_they_hold_their_tensors, 0,
                        2 * WIDTHS);
    tcase_add_test(t, the_result_has_the_order_of_the_base);
    tcase_add_test(t, reads_in_any_order_hash_every_byte_once);
    tcase_add_test(t, several_hashes_at_once_are_those_of_each_alone);
    tcase_add_loop_test(t, a_queue_hashes_what_is_read, 0, 15);
    tcase_add_loop_test(t, a_cancelled_merge_leaves_nothing, 0, WIDTHS);
    tcase_add_loop_test(t, an_input_that_is_cut_meanwhile_is_an_error, 0, WIDTHS);
    tcase_add_loop_test(t, the_first_of_several_failures_is_reported, 0, 2 * WIDTHS);
    tcase_add_test(t, a_damaged_tensor_is_found_in_pieces);
    tcase_add_loop_test(t, a_full_disk_leaves_nothing, 0, WIDTHS);
    tcase_add_loop_test(t, memory_that_runs_out_leaves_nothing, 0, 2 * WIDTHS);
    tcase_add_test(t, the_peak_is_a_few_tensors);
    return test_run(s);
}
