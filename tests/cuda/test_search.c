/* SPDX-License-Identifier: Apache-2.0 */
/* Merging in the memory of a CUDA device, and a search that does so. */
#include "backends.h"
#include "merge/merger.h"
#include "search/data.h"

#include <medsamix/search.h>

#include <sqlite3.h>

static const char *const names[] = {"base", "ft0", "ft1"};
static const char *const files[] = {"golden/merge/base.safetensors",
                                    "golden/merge/finetuned0.safetensors",
                                    "golden/merge/finetuned1.safetensors"};

static msx_merger *open_merger(msx_ctx *ctx) {
    msx_checkpoint *c[3];
    msx_merger *m;
    for (int i = 0; i < 3; i++) test_ok(ctx, msx_checkpoint_open(&c[i], ctx, test_path(files[i])));
    test_ok(ctx, msx_merger_create(&m, ctx, c, names, 3, false));
    for (int i = 0; i < 3; i++) msx_checkpoint_free(c[i]);
    return m;
}

static msx_plan *plan_of(msx_ctx *ctx, const char *groups) {
    char text[1024];
    msx_plan *p;
    snprintf(text, sizeof text, "medsamix: 1\nmodels: [ft0, ft1]\ngroups: {%s}\n", groups);
    test_ok(ctx, msx_plan_parse(&p, ctx, text, strlen(text), "plan"));
    return p;
}

/* Memory of the device for a merged network. */
typedef struct network {
    const msx_merger *m;
    float *weights;
} network;

static float *place(int64_t tensor, void *payload) {
    const network *n = payload;
    return n->weights + n->m->offset[tensor];
}

/* Kept groups, the four methods that run on the device, and two that run on the host. */
static const char *const plans[] = {
    "'*': {method: linear, weight: {base: 0.5, ft0: 0.3, ft1: 0.2}}",
    "'*': {method: linear, weight: {base: 1, ft0: 0, ft1: 0}}, neck: {method: ties, retain: 0.4}",
    "'*': {method: task_arithmetic, scaling: 0.4}, neck: {method: ties, retain: 0.5, scaling: 0.7}",
    "'*': {method: slerp, score: {base: 0.1, ft0: 0.9, ft1: 0.4}}, pos_embed: {method: ties}",
    "neck: {method: nuslerp}, patch_embed: {method: passthrough}",
    "'*': {method: ties, weight: {ft0: 0.3}}, neck: {method: ties, threshold: 1}",
    "'*': {method: task_arithmetic, weight: {ft0: 2, ft1: -1}, normalize: 1}",
    ("'encoder.*': {method: linear, normalize: 0, weight: {base: [0, 1], ft0: [{filter: attn, value: "
     "0.2}]}}"),
};
enum { PLANS = sizeof plans / sizeof *plans };

START_TEST(merging_there_has_the_bits_of_the_host) {
    msx_ctx *ctx = test_ctx();
    msx_device *d;
    test_ok(ctx, msx_device_open(&d, ctx, "cuda:0"));
    msx_merger *m = open_merger(ctx);
    int64_t tensors = m->n_tensors, floats = m->offset[tensors];
    network n = {.m = m};
    uint8_t *changed = malloc((size_t)tensors), *expected = malloc((size_t)tensors);
    msx_checkpoint *target;
    msx_plan *previous = NULL;
    test_ok(ctx, msx__device_alloc(d, &n.weights, floats));
    test_ok(ctx, msx__merger_reside(m, d->k, d->dev));
    test_ok(ctx, msx_checkpoint_create(&target, ctx));
    for (int i = 0; i < PLANS; i++) {
        msx_plan *plan = plan_of(ctx, plans[i]);
        test_ok(ctx, msx_merger_run(m, plan, previous, target, expected));
        test_ok(ctx, msx__merger_run_there(m, plan, previous, place, &n, changed));
        ck_assert_int_eq(memcmp(changed, expected, (size_t)tensors), 0);
        for (int64_t t = 0; t < tensors; t++) {
            const char *name = msx_arch_tensor_name(m->arch, t);
            const float *host = msx_checkpoint_data(target, msx_checkpoint_find(target, name));
            int64_t size = m->offset[t + 1] - m->offset[t];
            float *got = malloc((size_t)size * sizeof *got + 1);
            RUN(d, download, got, n.weights + m->offset[t], (size_t)size * sizeof *got);
            check_same(name, got, host, size);
            free(got);
        }
        msx_plan_free(previous);
        previous = plan;
    }
    msx_plan_free(previous);
    msx_checkpoint_free(target);
    msx__device_release(d, n.weights);
    free(changed), free(expected);
    msx_merger_free(m);
    msx_device_free(d);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(models_that_do_not_fit_are_left_on_the_host) {
    msx_ctx *ctx = test_ctx();
    msx_device *d;
    int64_t now, most;
    test_ok(ctx, msx_device_open(&d, ctx, "cuda:0"));
    msx_merger *m = open_merger(ctx);
    int64_t bytes = m->offset[m->n_tensors] * (int64_t)sizeof(float);
    test_ok(ctx, msx_device_set_budget(d, 2 * bytes + 4096)); /* of three models */
    test_fails(ctx, msx__merger_reside(m, d->k, d->dev), MSX_E_NOMEM, "bytes asked for");
    ck_assert_ptr_null(m->there.ops);
    test_ok(ctx, msx_device_usage(d, &now, &most));
    msx_merger_free(m);
    msx_device_free(d);
    msx_ctx_free(ctx);
}
END_TEST

enum { TRIALS = 9, TASKS = 2 };

/* How many workers a store names. */
static int count_workers(const char *store) {
    sqlite3 *db;
    sqlite3_stmt *statement;
    ck_assert_int_eq(sqlite3_open(store, &db), SQLITE_OK);
    ck_assert_int_eq(
        sqlite3_prepare_v2(db, "SELECT COUNT(DISTINCT worker) FROM trials", -1, &statement, NULL),
        SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(statement), SQLITE_ROW);
    int n = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return n;
}

/* The costs of a short random search on a device, or the first of several with a worker each, with a budget
 * (0: none); returns the most memory that it had in use. */
static int64_t search_on(const char *devices, int64_t budget, double *costs) {
    char device[32];
    bool several = strchr(devices, ',') != NULL;
    snprintf(device, sizeof device, "%.*s", (int)strcspn(devices, ","), devices);
    msx_ctx *ctx = test_ctx();
    char folder[64], store[128];
    msx_device *d;
    msx_dataset *data;
    msx_search *s;
    strcpy(folder, test_make_folder());
    snprintf(store, sizeof store, "%s/store.db", folder);
    make_small_data(ctx, folder);
    int64_t now = 0, most = 0;
    test_ok(ctx, msx_device_open(&d, ctx, device));
    if (budget) test_ok(ctx, msx_device_set_budget(d, budget));
    test_ok(ctx, msx_dataset_open(&data, ctx, folder));
    test_ok(ctx, msx_search_create(&s, d));
    for (int i = 0; i < 3; i++)
        test_ok(ctx, msx_search_add_model(s, names[i], test_path(files[i])));
    test_ok(ctx, msx_search_add_tasks(s, data, NULL, 0));
    test_ok(ctx, msx_search_set(s, "optimizer", "random"));
    test_ok(ctx, msx_search_set(s, "seed", "3"));
    test_ok(ctx, msx_search_set(s, "store", store));
    test_ok(ctx, msx_search_set(s, "trials", "9"));
    test_ok(ctx, msx_search_set(s, "batch", "3"));
    if (several) {
        test_ok(ctx, msx_search_set(s, "devices", devices));
        test_ok(ctx, msx_search_set(s, "workers", "2"));
    }
    test_ok(ctx, msx_search_run(s));
    ck_assert_int_eq(count_workers(store), several ? 2 : 1);
    ck_assert_int_eq(msx_search_trials(s), TRIALS);
    for (int64_t i = 0; i < TRIALS; i++)
        memcpy(costs + i * TASKS, msx_search_trial_costs(s, i), TASKS * sizeof *costs);
    msx_search_free(s);
    msx_dataset_free(data);
    if (!d->k->host_memory) test_ok(ctx, msx_device_usage(d, &now, &most));
    msx_device_free(d);
    test_remove_folder(folder);
    msx_ctx_free(ctx);
    return most;
}

static void check_costs(const double *cpu, const double *cuda) {
    for (int i = 0; i < TRIALS * TASKS; i++)
        ck_assert_msg(fabs(cpu[i] - cuda[i]) <= 0.01, "trial %d: %g, on the CPU %g", i / TASKS,
                      cuda[i], cpu[i]);
}

/* With less and less memory the models, the images and the labels stay on the host. */
START_TEST(a_search_finds_the_same_costs) {
    double cpu[TRIALS * TASKS], cuda[TRIALS * TASKS];
    search_on("cpu", 0, cpu);
    int64_t most = search_on("cuda:0", 0, cuda);
    check_costs(cpu, cuda);
    const int64_t fixed = (int64_t)32 << 20; /* what products may work with */
    for (int eighths = 7; eighths > 4; eighths -= 2) {
        int64_t budget = fixed + (most - fixed) * eighths / 8;
        ck_assert_int_le(search_on("cuda:0", budget, cuda), budget);
        check_costs(cpu, cuda);
    }
}
END_TEST

/* A worker a device, at once: the same trials with the same bits as one worker finds. On a machine of one GPU
 * both workers have it. */
START_TEST(two_devices_find_the_costs_of_one) {
    double one[TRIALS * TASKS], two[TRIALS * TASKS];
    msx_ctx *ctx = test_ctx();
    msx_device *second = NULL;
    bool there = msx_device_open(&second, ctx, "cuda:1") == MSX_OK;
    msx_device_free(second);
    msx_ctx_free(ctx);
    search_on("cuda:0", 0, one);
    search_on(there ? "cuda:0,cuda:1" : "cuda:0,cuda:0", 0, two);
    ck_assert_int_eq(memcmp(one, two, sizeof one), 0);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: search");
    TCase *t = tcase_create("merging");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, merging_there_has_the_bits_of_the_host);
    tcase_add_test(t, models_that_do_not_fit_are_left_on_the_host);
    tcase_add_test(t, a_search_finds_the_same_costs);
    tcase_add_test(t, two_devices_find_the_costs_of_one);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
