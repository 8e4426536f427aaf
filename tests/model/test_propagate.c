/* SPDX-License-Identifier: Apache-2.0 */
/* lib/model: volumes slice by slice against the same done by hand, and objects followed through them. */
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLICES = 7, SIDE = 40 };

typedef struct scene {
    msx_ctx *ctx;
    msx_device *device;
    msx_model *model;
    msx_slices *image;
    msx_seeds *seeds;
    char folder[64];
} scene;

/* Two bright discs that grow and shrink along k on a noisy ground; the last slice is all zeros. */
static void write_image(msx_ctx *ctx, const char *path) {
    static float data[SLICES * SIDE * SIDE];
    uint32_t state = 7;
    for (int k = 0; k < SLICES; k++)
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                double r = 8 - 1.2 * abs(k - 3), left = hypot(x - 11, y - 20),
                       right = hypot(x - 28, y - 18);
                state = state * 1664525u + 1013904223u;
                float *v = &data[(k * SIDE + y) * SIDE + x];
                *v = (float)(40 + (state >> 28) + (left < r ? 150 : right < r ? 90 : 0));
                if (k == SLICES - 1) *v = 0;
            }
    const int64_t dim[3] = {SIDE, SIDE, SLICES};
    msx_volume *v;
    test_ok(ctx, msx_volume_create(&v, ctx, dim, data));
    test_ok(ctx, msx_volume_save_labels(v, path));
    msx_volume_free(v);
}

static void scene_open(scene *s, const msx_allocator *memory) {
    char path[128];
    msx_checkpoint *weights;
    ck_assert_int_eq(msx_ctx_create(&s->ctx, memory), MSX_OK);
    test_ok(s->ctx, msx_ctx_set_threads(s->ctx, 1));
    strcpy(s->folder, test_make_folder());
    snprintf(path, sizeof path, "%s/image.nii", s->folder);
    write_image(s->ctx, path);
    test_ok(s->ctx, msx_device_open(&s->device, s->ctx, "cpu"));
    test_ok(s->ctx, msx_checkpoint_open(&weights, s->ctx, test_path("golden/a/model.pth")));
    test_ok(s->ctx, msx_model_load(&s->model, s->device, weights, MSX_PRESET_MEDSAM));
    msx_checkpoint_free(weights);
    test_ok(s->ctx, msx_slices_load(&s->image, s->ctx, path, "k", "none", s->folder));
    test_ok(s->ctx, msx_seeds_create(&s->seeds, s->ctx));
}

static void scene_close(scene *s) {
    msx_seeds_free(s->seeds);
    msx_slices_free(s->image);
    msx_model_free(s->model);
    msx_device_free(s->device);
    msx_ctx_free(s->ctx);
    test_remove_folder(s->folder);
}

static void seed_box(scene *s, int label, int64_t first, int64_t last, double x0, double y0,
                     double x1, double y1) {
    const double box[4] = {x0, y0, x1, y1};
    test_ok(s->ctx, msx_seeds_box(s->seeds, label, first, last, box));
}

/* All labels of a segmentation, (SLICES, SIDE, SIDE). */
static uint16_t *voxels(const scene *s, const msx_segmentation *r) {
    uint16_t *all = malloc(SLICES * SIDE * SIDE * sizeof *all);
    for (int k = 0; k < SLICES; k++) {
        msx_image *slice;
        test_ok(s->ctx, msx_slices_read(&slice, msx_segmentation_labels(r), k));
        memcpy(all + k * SIDE * SIDE, msx_image_data(slice), SIDE * SIDE * sizeof *all);
        msx_image_free(slice);
    }
    return all;
}

static uint16_t *segment(scene *s, const msx_volume_options *o, msx_segmentation **out) {
    msx_segmentation *r;
    test_ok(s->ctx, msx_segment_volume(&r, s->model, s->image, s->seeds, o));
    uint16_t *all = voxels(s, r);
    if (out)
        *out = r;
    else
        msx_segmentation_free(r);
    return all;
}

/* ---- by hand ------------------------------------------------------------------------------------------- */

/* One prompt on one slice, the plain way: mask (SIDE, SIDE) and logits of mask 0. */
static void by_hand(const scene *s, int64_t k, const double box[4], const float *before,
                    uint8_t *mask, float *logits) {
    msx_image *slice, *out;
    msx_embedding *e;
    msx_prompts *p;
    msx_prediction *r;
    int64_t side = 4 * msx_arch_get(msx_model_arch(s->model), MSX_ARCH_GRID);
    test_ok(s->ctx, msx_slices_read(&slice, s->image, k));
    test_ok(s->ctx, msx_model_encode(&e, s->model, (const msx_image *const[]){slice}, 1));
    test_ok(s->ctx, msx_prompts_create(&p, s->ctx));
    test_ok(s->ctx, msx_prompts_begin(p, 0));
    test_ok(s->ctx, msx_prompts_box(p, box[0], box[1], box[2], box[3]));
    if (before) test_ok(s->ctx, msx_prompts_mask(p, before, side * side));
    test_ok(s->ctx, msx_model_predict(&r, s->model, e, p));
    test_ok(s->ctx, msx_prediction_mask(&out, r, 0, 0));
    memcpy(mask, msx_image_data(out), SIDE * SIDE);
    memcpy(logits, msx_prediction_logits(r, 0), (size_t)(side * side) * sizeof *logits);
    msx_image_free(out);
    msx_image_free(slice);
    msx_prediction_free(r);
    msx_prompts_free(p);
    msx_embedding_free(e);
}

/* The box around a mask, widened; false when it is empty. */
static bool next_box(const uint8_t *mask, double margin, double box[4]) {
    double b[4] = {1e9, 1e9, -1, -1};
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            if (!mask[y * SIDE + x]) continue;
            b[0] = fmin(b[0], x), b[1] = fmin(b[1], y), b[2] = fmax(b[2], x), b[3] = fmax(b[3], y);
        }
    box[0] = fmax(b[0] - margin, 0);
    box[1] = fmax(b[1] - margin, 0);
    box[2] = fmin(b[2] + margin, SIDE - 1);
    box[3] = fmin(b[3] + margin, SIDE - 1);
    return b[2] >= 0;
}

START_TEST(following_a_box_is_what_one_would_do_by_hand) {
    static uint8_t want[SLICES * SIDE * SIDE];
    static float logits[2][256 * 256];
    bool carry = _i % 2;
    double margin = _i / 2 ? 0 : 3, start[4] = {2, 11, 20, 29};
    scene s;
    scene_open(&s, NULL);
    memset(want, 0, sizeof want);
    for (int step = 1; step >= -1; step -= 2) {
        double box[4];
        memcpy(box, start, sizeof box);
        bool going = true;
        for (int k = 3, first = 1; going && k >= 0 && k < SLICES; k += step, first = 0) {
            float *now = logits[k % 2], *then = logits[(k + 1) % 2];
            by_hand(&s, k, box, carry && !first ? then : NULL, want + k * SIDE * SIDE, now);
            going = next_box(want + k * SIDE * SIDE, margin, box);
        }
    }
    seed_box(&s, 9, 3, 3, start[0], start[1], start[2], start[3]);
    msx_volume_options o = MSX_VOLUME_OPTIONS;
    o.propagate = carry ? MSX_PROPAGATE_MASK : MSX_PROPAGATE_BOX;
    o.margin = margin;
    msx_segmentation *r;
    uint16_t *got = segment(&s, &o, &r);
    int64_t differ = 0, inside = 0;
    for (int i = 0; i < SLICES * SIDE * SIDE; i++) {
        differ += got[i] != (want[i] ? 9 : 0);
        inside += want[i];
    }
    ck_assert_int_eq(differ, 0);
    msx_segmented_object x = {.struct_size = sizeof x};
    test_ok(s.ctx, msx_segmentation_object(r, 0, &x));
    ck_assert_int_eq(x.label, 9);
    ck_assert_int_eq(x.voxels, inside);
    ck_assert_int_eq(x.prompts, msx_segmentation_slices(r));
    ck_assert(x.iou > -10 && x.iou < 10);
    size_t n;
    ck_assert_ptr_nonnull(msx_segmentation_boxes(r, &n));
    ck_assert_int_eq(n, 1);
    msx_segmentation_free(r);
    free(got);
    scene_close(&s);
}
END_TEST

/* ---- how far ------------------------------------------------------------------------------------------- */

/* Which slices are segmented, as a bit each. */
static unsigned prompted(scene *s, const msx_volume_options *o, int64_t *prompts) {
    msx_segmentation *r;
    unsigned bits = 0;
    msx_segmented_object x = {.struct_size = sizeof x};
    uint16_t *all = segment(s, o, &r);
    for (int i = 0; i < SLICES * SIDE * SIDE; i++) bits |= all[i] ? 1u << i / (SIDE * SIDE) : 0;
    test_ok(s->ctx, msx_segmentation_object(r, 0, &x));
    if (prompts) *prompts = x.prompts;
    msx_segmentation_free(r);
    free(all);
    return bits;
}

START_TEST(following_ends_where_it_is_told_to) {
    scene s;
    int64_t prompts;
    msx_volume_options o = MSX_VOLUME_OPTIONS;
    scene_open(&s, NULL);
    seed_box(&s, 1, 3, 3, 2, 11, 20, 29);
    ck_assert_uint_eq(prompted(&s, &o, &prompts), 1u << 3); /* none: only the slice itself */
    ck_assert_int_eq(prompts, 1);
    o.propagate = MSX_PROPAGATE_BOX;
    unsigned all = prompted(&s, &o, &prompts);
    ck_assert_msg(all >= 1u << 4, "the model of the test loses the object at once");
    o.reach = 1;
    ck_assert_uint_eq(prompted(&s, &o, &prompts), all & 0x1c);
    ck_assert_int_eq(prompts, 3);
    o.reach = 0;
    o.min_pixels =
        SIDE * SIDE + 1; /* more than there are: the slices beside are looked at and end it */
    ck_assert_uint_eq(prompted(&s, &o, &prompts), 1u << 3);
    ck_assert_int_eq(prompts, 1); /* nor is the first mask enough to go on from */
    o.min_pixels = 1;
    o.min_overlap = 1; /* no two masks are the same */
    ck_assert_uint_eq(prompted(&s, &o, &prompts), 1u << 3);
    ck_assert_int_eq(prompts, 3);
    scene_close(&s);
}
END_TEST

START_TEST(a_box_in_space_bounds_the_object_and_is_gone_back_to) {
    scene s;
    int64_t prompts;
    msx_volume_options o = MSX_VOLUME_OPTIONS;
    scene_open(&s, NULL);
    seed_box(&s, 1, 1, 4, 2, 11, 20, 29);
    prompted(&s, &o, &prompts);
    ck_assert_int_eq(prompts, 4);
    o.propagate = MSX_PROPAGATE_BOX;
    ck_assert_uint_eq(prompted(&s, &o, &prompts) & ~0x1eu, 0);
    ck_assert_int_eq(prompts, 4);
    o.min_overlap = 1; /* carried on it is always lost, but the box is there again */
    prompted(&s, &o, &prompts);
    ck_assert_int_eq(prompts, 4);
    scene_close(&s);
}
END_TEST

/* ---- several objects ----------------------------------------------------------------------------------- */

START_TEST(objects_are_followed_each_for_itself) {
    scene s;
    msx_volume_options o = MSX_VOLUME_OPTIONS;
    uint16_t *alone[2], *both = NULL;
    o.propagate = MSX_PROPAGATE_BOX;
    o.margin = 2;
    for (int i = 0; i < 3; i++) {
        scene_open(&s, NULL);
        if (i != 1) seed_box(&s, 4, 1, 1, 2, 11, 20, 29);
        if (i != 0) seed_box(&s, 2, 4, 4, 19, 10, 36, 26);
        uint16_t *got = segment(&s, &o, NULL);
        if (i < 2)
            alone[i] = got;
        else
            both = got;
        scene_close(&s);
    }
    /* A voxel of one mask has its label; of both, one of the two. */
    int64_t wrong = 0, shared = 0, lost[2] = {0, 0};
    for (int i = 0; i < SLICES * SIDE * SIDE; i++) {
        bool a = alone[0][i] == 4, b = alone[1][i] == 2;
        wrong += a && b ? both[i] != 4 && both[i] != 2 : both[i] != (a ? 4 : b ? 2 : 0);
        shared += a && b;
        lost[0] += a && b && both[i] != 4;
        lost[1] += a && b && both[i] != 2;
    }
    ck_assert_int_eq(wrong, 0);
    ck_assert_int_gt(shared, 0); /* else the rule for overlaps is not tested */
    ck_assert_int_eq(lost[0] + lost[1], shared);
    free(alone[0]);
    free(alone[1]);
    free(both);
}
END_TEST

START_TEST(own_prompts_win_and_points_join_the_only_box) {
    scene s;
    msx_volume_options o = MSX_VOLUME_OPTIONS;
    msx_segmentation *r;
    msx_segmented_object x = {.struct_size = sizeof x};
    o.propagate = MSX_PROPAGATE_BOX;
    o.reach = 1;
    scene_open(&s, NULL);
    seed_box(&s, 1, 3, 3, 2, 11, 20, 29);
    test_ok(s.ctx, msx_seeds_point(s.seeds, 1, 3, 11, 20, 1)); /* joins: one prompt */
    test_ok(s.ctx, msx_seeds_point(s.seeds, 1, 6, 11, 20, 1)); /* alone, on the slice of zeros */
    seed_box(&s, 7, 3, 3, 2, 11, 20, 29);
    seed_box(&s, 7, 3, 3, 19, 10, 36, 26); /* two boxes: two prompts, one mask */
    free(segment(&s, &o, &r));
    ck_assert_int_eq(msx_segmentation_objects(r), 2);
    test_ok(s.ctx, msx_segmentation_object(r, 0, &x));
    /* 3 and 6 for certain; 2 and 4, and 5 where the masks on 3 and 6 are not empty */
    ck_assert_int_ge(x.prompts, 2);
    ck_assert_int_le(x.prompts, 5);
    test_ok(s.ctx, msx_segmentation_object(r, 1, &x));
    ck_assert_int_ge(x.prompts, 2);
    ck_assert_int_le(x.prompts, 4);
    test_fails(s.ctx, msx_segmentation_object(r, 2, &x), MSX_E_ARG, "object 2 is outside 0 to 1");
    msx_segmentation_free(r);
    o.propagate = MSX_PROPAGATE_NONE;
    free(segment(&s, &o, &r));
    test_ok(s.ctx, msx_segmentation_object(r, 0, &x));
    ck_assert_int_eq(x.prompts, 2);
    test_ok(s.ctx, msx_segmentation_object(r, 1, &x));
    ck_assert_int_eq(x.prompts, 2);
    ck_assert_int_eq(msx_segmentation_slices(r), 2);
    msx_segmentation_free(r);
    scene_close(&s);
}
END_TEST

START_TEST(threads_change_no_voxel) {
    static const int threads[] = {1, 2, 3, 5};
    uint16_t *want = NULL;
    for (int i = 0; i < 4; i++) {
        scene s;
        msx_volume_options o = MSX_VOLUME_OPTIONS;
        o.propagate = _i ? MSX_PROPAGATE_MASK : MSX_PROPAGATE_NONE;
        scene_open(&s, NULL);
        test_ok(s.ctx, msx_ctx_set_threads(s.ctx, threads[i]));
        seed_box(&s, 4, 0, 5, 2, 11, 20, 29);
        seed_box(&s, 2, 4, 4, 19, 10, 36, 26);
        uint16_t *got = segment(&s, &o, NULL);
        if (want) ck_assert_int_eq(memcmp(want, got, SLICES * SIDE * SIDE * sizeof *got), 0);
        free(want);
        want = got;
        scene_close(&s);
    }
    free(want);
}
END_TEST

/* ---- mistakes, cancelling, memory ---------------------------------------------------------------------- */

START_TEST(mistakes_are_refused_with_a_text) {
    scene s;
    msx_segmentation *r;
    scene_open(&s, NULL);
    test_fails(s.ctx, msx_segment_volume(&r, s.model, s.image, s.seeds, NULL), MSX_E_ARG,
               "no box, no point");
    ck_assert_ptr_null(r);
    static const struct {
        int64_t slice;
        double box[4];
        const char *text;
    } bad[] = {{7, {1, 1, 5, 5}, "slice 7 of object 3 is outside 0 to 6"},
               {0, {40, 1, 50, 5}, "box 40,1,50,5 lies outside the slice of 40 x 40 pixels"},
               {0, {-9, 1, -1, 5}, "lies outside the slice"}};
    for (int i = 0; i < 3; i++) {
        msx_seeds *seeds;
        test_ok(s.ctx, msx_seeds_create(&seeds, s.ctx));
        test_ok(s.ctx, msx_seeds_box(seeds, 3, bad[i].slice, bad[i].slice, bad[i].box));
        test_fails(s.ctx, msx_segment_volume(&r, s.model, s.image, seeds, NULL), MSX_E_ARG,
                   bad[i].text);
        msx_seeds_free(seeds);
    }
    seed_box(&s, 1, 0, 0, 1, 1, 9, 9);
    static const struct {
        msx_volume_options o;
        const char *text;
    } options[] = {{{0, 0, 0, 5, 1, 0, 0}, "begin with MSX_VOLUME_OPTIONS"},
                   {{sizeof(msx_volume_options), 3, 0, 5, 1, 0, 0}, "propagation 3"},
                   {{sizeof(msx_volume_options), 1, 0, -1, 1, 0, 0}, "margin -1"},
                   {{sizeof(msx_volume_options), 1, 0, NAN, 1, 0, 0}, "margin"},
                   {{sizeof(msx_volume_options), 1, 0, 5, 0, 0, 0}, "min_pixels 0"},
                   {{sizeof(msx_volume_options), 1, 0, 5, 1, 1.5, 0}, "min_overlap 1.5"},
                   {{sizeof(msx_volume_options), 1, 0, 5, 1, 0, -1}, "reach -1"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        test_fails(s.ctx, msx_segment_volume(&r, s.model, s.image, s.seeds, &options[i].o),
                   MSX_E_ARG, options[i].text);
    msx_segmentation_free(NULL);
    ck_assert_ptr_null(msx_segmentation_labels(NULL));
    ck_assert_int_eq(msx_segmentation_objects(NULL), 0);
    scene_close(&s);
}
END_TEST

static int stop_at_third(const msx_progress *p, void *payload) {
    (void)payload;
    return p->done == 3;
}

typedef struct progressed {
    int64_t calls, done, total;
    bool right; /* counts up by one, and the total stays */
} progressed;

static int note_progress(const msx_progress *p, void *payload) {
    progressed *n = payload;
    n->right &= !strcmp(p->stage, "segment") && p->done == n->done + 1;
    n->right &= n->calls == 0 || p->total == n->total;
    n->calls++;
    n->done = p->done;
    n->total = p->total;
    return 0;
}

/* Of all slices with prompts where they are known; of those visited when objects are followed. */
START_TEST(progress_is_told_for_every_slice) {
    scene s;
    msx_segmentation *r;
    scene_open(&s, NULL);
    seed_box(&s, 1, 1, 4, 2, 11, 20, 29);
    seed_box(&s, 2, 6, 6, 2, 11, 20, 29);
    msx_volume_options o = MSX_VOLUME_OPTIONS;
    for (int follow = 0; follow < 2; follow++) {
        progressed n = {.right = true};
        o.propagate = follow ? MSX_PROPAGATE_BOX : MSX_PROPAGATE_NONE;
        msx_ctx_set_progress(s.ctx, note_progress, &n);
        test_ok(s.ctx, msx_segment_volume(&r, s.model, s.image, s.seeds, &o));
        ck_assert(n.right);
        if (follow) {
            ck_assert_int_ge(n.calls, msx_segmentation_slices(r));
            ck_assert_int_eq(n.total, 0); /* not known */
        } else {
            ck_assert_int_eq(n.calls, 5);
            ck_assert_int_eq(n.total, 5);
            ck_assert_int_eq(msx_segmentation_slices(r), 5);
        }
        msx_segmentation_free(r);
    }
    scene_close(&s);
}
END_TEST

START_TEST(a_cancelled_one_leaves_nothing) {
    scene s;
    msx_segmentation *r;
    scene_open(&s, NULL);
    seed_box(&s, 1, 0, SLICES - 1, 2, 11, 20, 29);
    msx_volume_options o = MSX_VOLUME_OPTIONS;
    o.propagate = MSX_PROPAGATE_BOX;
    msx_ctx_set_progress(s.ctx, stop_at_third, NULL);
    test_fails(s.ctx, msx_segment_volume(&r, s.model, s.image, s.seeds, &o), MSX_E_CANCELLED,
               "segment");
    ck_assert_ptr_null(r);
    msx_ctx_set_progress(s.ctx, NULL, NULL);
    msx_ctx_cancel(s.ctx);
    test_fails(s.ctx, msx_segment_volume(&r, s.model, s.image, s.seeds, &o), MSX_E_CANCELLED, "");
    scene_close(&s);
}
END_TEST

START_TEST(running_out_of_memory_is_returned_and_leaks_nothing) {
    test_allocator a;
    scene s;
    test_allocator_init(&a, -1, _i != 0);
    scene_open(&s, &a.table);
    seed_box(&s, 4, 1, 3, 2, 11, 20, 29);
    seed_box(&s, 2, 2, 2, 19, 10, 36, 26);
    msx_volume_options o = MSX_VOLUME_OPTIONS;
    o.propagate = MSX_PROPAGATE_MASK;
    o.reach = 1;
    o.multimask = 1;
    for (int64_t fail_at = 0, done = 0; !done; fail_at += 1 + fail_at / 16) {
        ck_assert_int_lt(fail_at, 100000);
        a.fail_at = a.calls + fail_at;
        msx_segmentation *r;
        msx_status status = msx_segment_volume(&r, s.model, s.image, s.seeds, &o);
        done = a.calls <= a.fail_at;
        a.fail_at = -1;
        if (done)
            test_ok(s.ctx, status);
        else
            ck_assert_int_eq(status, MSX_E_NOMEM);
        msx_segmentation_free(r);
    }
    scene_close(&s);
    ck_assert_int_eq(a.live, 0);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("propagate");
    TCase *t = tcase_create("propagate");
    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, following_a_box_is_what_one_would_do_by_hand, 0, 4);
    tcase_add_test(t, following_ends_where_it_is_told_to);
    tcase_add_test(t, a_box_in_space_bounds_the_object_and_is_gone_back_to);
    tcase_add_test(t, objects_are_followed_each_for_itself);
    tcase_add_test(t, own_prompts_win_and_points_join_the_only_box);
    tcase_add_loop_test(t, threads_change_no_voxel, 0, 2);
    tcase_add_test(t, mistakes_are_refused_with_a_text);
    tcase_add_test(t, progress_is_told_for_every_slice);
    tcase_add_test(t, a_cancelled_one_leaves_nothing);
    tcase_add_loop_test(t, running_out_of_memory_is_returned_and_leaks_nothing, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
