/* SPDX-License-Identifier: Apache-2.0 */
/* Places in a circle of memory: never over one that is in use, and to be had whenever all are free. */
#include "merge/ring.h"
#include "support/support.h"

enum { UNITS = 4000, CAPACITY = 1000 };

static msx_ctx *ctx;
static msx__ring ring;

static void open_ring(int64_t small, int64_t lap) {
    test_ok(ctx, msx_ctx_create(&ctx, NULL));
    test_ok(ctx, msx__ring_open(&ring, ctx, UNITS, CAPACITY, small, lap));
}

static void close_ring(void) {
    msx__ring_close(&ring, ctx);
    msx_ctx_free(ctx);
}

/* Units of any size up to `most`, and small ones between them; freed at random when there is no place. */
START_TEST(places_in_use_do_not_meet) {
    static const int64_t smalls[] = {0, 50}, mosts[] = {3, 60, 400, CAPACITY};
    static int64_t size[UNITS];
    int64_t small = smalls[_i % 2], most = mosts[_i / 2];
    uint32_t state = 5;
    open_ring(small, 4 * small);
    for (int64_t u = 0; u < UNITS; u++) {
        state = state * 1664525u + 1013904223u;
        size[u] = (state >> 8) % (uint32_t)((state >> 30 ? most : 3) + 1);
        while (!msx__ring_place(&ring, u, size[u])) {
            ck_assert_msg(ring.freed < u, "unit %lld has no place in an empty ring", (long long)u);
            ring.freed++;
        }
        ck_assert(msx__ring_place(&ring, u, size[u])); /* it has one now, and keeps it */
        ck_assert_int_eq(ring.placed, u + 1);
        int64_t at = ring.at[u], end = at + size[u];
        ck_assert(at >= 0 && end <= CAPACITY);
        for (int64_t k = ring.freed; k < u; k++)
            ck_assert_msg(end <= ring.at[k] || ring.at[k] + size[k] <= at || !size[u] || !size[k],
                          "units %lld and %lld meet", (long long)k, (long long)u);
    }
    close_ring();
}
END_TEST

/* Were the small one in a part of its own, the next large one would have to wait for the first. */
START_TEST(a_small_one_leaves_room_for_two_large_ones) {
    open_ring(0, 4);
    ck_assert(msx__ring_place(&ring, 0, 450));
    ck_assert(msx__ring_place(&ring, 1, 1));
    ck_assert(msx__ring_place(&ring, 2, 450));
    ck_assert(!msx__ring_place(&ring, 3, 450));
    ring.freed = 1;
    ck_assert(!msx__ring_place(&ring, 3, 450)); /* a full circle would look empty */
    ring.freed = 2;
    ck_assert(msx__ring_place(&ring, 3, 450));
    close_ring();
}
END_TEST

START_TEST(small_ones_stay_in_the_first_part) {
    open_ring(10, 40);
    for (int64_t u = 0; u < 100; u++) {
        while (!msx__ring_place(&ring, u, 10)) ring.freed++;
        ck_assert_int_le(ring.at[u], 30);
    }
    close_ring();
}
END_TEST

int main(void) {
    Suite *s = suite_create("ring");
    TCase *t = tcase_create("ring");
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, places_in_use_do_not_meet, 0, 8);
    tcase_add_test(t, a_small_one_leaves_room_for_two_large_ones);
    tcase_add_test(t, small_ones_stay_in_the_first_part);
    return test_run(s);
}
