/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of activations: what it keeps, what it drops, and that it never loses a value. */
#include "core/random.h"
#include "search/activation_cache.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

/* Values are ints; `live` counts those that are not released. */
static void release(void *value, void *payload) {
    --*(int *)payload;
    free(value);
}

typedef struct fixture {
    msx_ctx *ctx;
    msx__activation_cache *cache;
    int live;
} fixture;

static void set_up(fixture *f, int64_t budget) {
    *f = (fixture){.ctx = test_ctx()};
    test_ok(f->ctx, msx__activation_cache_create(&f->cache, f->ctx, budget));
}

static void tear_down(fixture *f) {
    msx__activation_cache_free(f->cache);
    ck_assert_int_eq(f->live, 0);
    msx_ctx_free(f->ctx);
}

/* Keys that fall into one chain, so that the whole key must be compared. */
static msx__cache_key key_of(int number) {
    return (msx__cache_key){{7 + ((uint64_t)(number / 2) << 40), (uint64_t)number}};
}

static void put(fixture *f, int number, int64_t bytes) {
    int *value = malloc(sizeof *value);
    msx__cache_key key = key_of(number);
    *value = number;
    f->live++;
    test_ok(f->ctx, msx__activation_cache_put(f->cache, &key, value, bytes, release, &f->live));
}

static bool has(fixture *f, int number) {
    msx__cache_key key = key_of(number);
    const int *value = msx__activation_cache_get(f->cache, &key);
    if (value) ck_assert_int_eq(*value, number);
    return value;
}

static msx__cache_totals totals(const fixture *f) {
    msx__cache_totals t;
    msx__activation_cache_totals(f->cache, &t);
    return t;
}

START_TEST(the_least_recently_used_goes_first) {
    fixture f;
    set_up(&f, 100);
    for (int i = 0; i < 4; i++) put(&f, i, 25);
    ck_assert(has(&f, 0)); /* now 1 is the oldest */
    put(&f, 4, 25);
    ck_assert(!has(&f, 1));
    ck_assert(has(&f, 2) && has(&f, 3) && has(&f, 0) && has(&f, 4));
    put(&f, 5, 60); /* takes the place of 2, 3 and 0 */
    ck_assert(!has(&f, 2) && !has(&f, 3) && !has(&f, 0));
    ck_assert(has(&f, 4) && has(&f, 5));
    msx__cache_totals t = totals(&f);
    ck_assert_int_eq(t.entries, 2);
    ck_assert_int_eq(t.bytes, 85);
    ck_assert_int_eq(t.evicted, 4);
    ck_assert_int_eq(t.hits, 7);
    ck_assert_int_eq(t.misses, 4);
    ck_assert_int_eq(f.live, 2);
    tear_down(&f);
}
END_TEST

START_TEST(what_exceeds_the_budget_is_not_kept_and_evicts_nothing) {
    fixture f;
    set_up(&f, 50);
    put(&f, 1, 50);
    put(&f, 2, 51);
    ck_assert(!has(&f, 2));
    ck_assert(has(&f, 1));
    put(&f, 1, 51); /* but the old value of its own key goes: it is not the newest any more */
    ck_assert(!has(&f, 1));
    ck_assert_int_eq(totals(&f).bytes, 0);
    put(&f, 3, 0);
    ck_assert(has(&f, 3));
    tear_down(&f);
    set_up(&f, 0);
    put(&f, 1, 1);
    ck_assert(!has(&f, 1));
    tear_down(&f);
}
END_TEST

START_TEST(a_second_value_replaces_the_first) {
    fixture f;
    set_up(&f, 100);
    put(&f, 1, 40);
    put(&f, 2, 40);
    put(&f, 1, 60);
    ck_assert(has(&f, 1) && has(&f, 2));
    ck_assert_int_eq(totals(&f).bytes, 100);
    ck_assert_int_eq(f.live, 2);
    msx__activation_cache_clear(f.cache);
    ck_assert_int_eq(f.live, 0);
    ck_assert(!has(&f, 1) && !has(&f, 2));
    put(&f, 3, 1);
    ck_assert(has(&f, 3));
    tear_down(&f);
}
END_TEST

/* Against a list that is searched from end to end. */
START_TEST(thousands_of_uses_agree_with_a_plain_list) {
    enum { KEYS = 2000, BUDGET = 9000 };
    static int64_t used[KEYS], bytes[KEYS]; /* 0 bytes: not there */
    fixture f;
    msx_rng rng;
    set_up(&f, BUDGET);
    msx__rng_init(&rng, 1, 0);
    int64_t sum = 0;
    for (int64_t time = 1; time < 20000; time++) {
        int number = (int)msx_rng_below(&rng, KEYS);
        if (msx_rng_below(&rng, 2)) {
            ck_assert_int_eq(has(&f, number), bytes[number] > 0);
        } else {
            sum -= bytes[number];
            bytes[number] = 0;
            int64_t size = 1 + (int64_t)msx_rng_below(&rng, 20);
            while (sum + size > BUDGET) {
                int oldest = -1;
                for (int i = 0; i < KEYS; i++)
                    if (bytes[i] && (oldest < 0 || used[i] < used[oldest])) oldest = i;
                sum -= bytes[oldest];
                bytes[oldest] = 0;
            }
            put(&f, number, size);
            bytes[number] = size;
            sum += size;
        }
        used[number] = time;
        ck_assert_int_eq(totals(&f).bytes, sum);
    }
    ck_assert(totals(&f).entries > 512); /* the table has grown */
    tear_down(&f);
}
END_TEST

START_TEST(lack_of_memory_is_returned_and_releases_the_value) {
    for (int64_t at = 0;; at++) {
        test_allocator memory;
        fixture f = {0};
        test_allocator_init(&memory, -1, _i != 0);
        ck_assert_int_eq(msx_ctx_create(&f.ctx, &memory.table), MSX_OK);
        memory.calls = 0;
        memory.fail_at = at;
        msx_status status = msx__activation_cache_create(&f.cache, f.ctx, 1000);
        for (int i = 0; status >= 0 && i < 300; i++) {
            msx__cache_key key = key_of(i);
            f.live++;
            status = msx__activation_cache_put(f.cache, &key, malloc(1), 1, release, &f.live);
        }
        bool reached = memory.calls > at;
        ck_assert_int_eq(status, reached ? MSX_E_NOMEM : MSX_OK);
        memory.fail_at = -1;
        tear_down(&f);
        ck_assert_int_eq(memory.live, 0);
        if (!reached) break;
    }
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("activation_cache");
    TCase *t = tcase_create("activation_cache");
    tcase_add_test(t, the_least_recently_used_goes_first);
    tcase_add_test(t, what_exceeds_the_budget_is_not_kept_and_evicts_nothing);
    tcase_add_test(t, a_second_value_replaces_the_first);
    tcase_add_test(t, thousands_of_uses_agree_with_a_plain_list);
    tcase_add_loop_test(t, lack_of_memory_is_returned_and_releases_the_value, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
