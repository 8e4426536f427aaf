/* SPDX-License-Identifier: Apache-2.0 */
/* lib/model: several threads on one device and one model. Run under ThreadSanitizer by
 * `make check-tsan`. */
#include "sessions.h"

START_TEST(sessions_on_one_model_give_the_bits_of_one) {
    golden g;
    golden_open(&g, _i % 2 ? "a" : "b", _i / 2 ? MSX_PRESET_MEDSAM : MSX_PRESET_MICROSAM);
    check_sessions(&g, 1 + _i / 2);
    golden_close(&g);
}
END_TEST

/* Loading and freeing models on a device that others compute on. */
static void *load_and_free(void *payload) {
    session *s = payload;
    pthread_barrier_wait(s->start);
    for (int r = 0; r < SESSION_ROUNDS && s->status >= 0; r++) {
        msx_checkpoint *weights = NULL;
        msx_model *m = NULL;
        s->status = msx_checkpoint_open(&weights, s->g->ctx, test_path("golden/a/model.pth"));
        if (s->status >= 0)
            s->status = msx_model_load(&m, s->g->device, weights, MSX_PRESET_MEDSAM);
        msx_model_free(m);
        msx_checkpoint_free(weights);
    }
    return NULL;
}

START_TEST(models_come_and_go_beside_a_session) {
    golden g;
    golden_open(&g, "a", MSX_PRESET_SAM);
    const char *folder = test_make_folder();
    pthread_barrier_t start;
    pthread_t thread[2];
    pthread_barrier_init(&start, NULL, 2);
    session s = {.g = &g, .folder = folder, .start = &start}, other = s;
    ck_assert_int_eq(pthread_create(thread, NULL, run_session, &s), 0);
    ck_assert_int_eq(pthread_create(thread + 1, NULL, load_and_free, &other), 0);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    ck_assert_int_ge(s.status, 0);
    ck_assert_int_ge(other.status, 0);
    session alone = {.g = &g, .folder = folder};
    run_session(&alone);
    ck_assert_int_eq(memcmp(alone.results, s.results, (size_t)alone.n * sizeof(float)), 0);
    free(alone.results);
    free(s.results);
    pthread_barrier_destroy(&start);
    test_remove_folder(folder);
    golden_close(&g);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("sessions");
    TCase *t = tcase_create("sessions");
    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, sessions_on_one_model_give_the_bits_of_one, 0, 4);
    tcase_add_test(t, models_come_and_go_beside_a_session);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
