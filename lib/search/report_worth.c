/* SPDX-License-Identifier: Apache-2.0 */
/* What the layer groups are worth, as a random forest has learnt it from the trials.
 *
 * For one group, its method and values ("block") in a trial are replaced by those of another trial,
 * the donor, and the forest predicts both. Over donors j and trials i, with f the predicted cost:
 * total importance is half the mean of (f_ij - f_i)^2 (M. Jansen, Comput. Phys. Commun. 117, 1999),
 * and the part that needs no other group the variance over j of the mean over i (I. Sobol, Math.
 * Model. Comput. Exp. 1, 1993). The worth of a method is the mean over i and the donors that have it,
 * against the mean over all donors: unlike a mean of the trials themselves it does not mix up a
 * method with what else those trials had. */
#include "optimize/forest.h"
#include "search/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    FEWEST = 20, /* trials that say anything */
    TREES = 32,
    BACKGROUND = 64, /* trials that a block is put into */
    DONORS = 32,     /* of each method */
    MOST_METHODS = 16,
    FEW = 3 /* fewer trials with a method say nothing about it */
};

typedef struct measure {
    report *r;
    msx_space *space; /* without conditions: inactive values are a value of their own to a forest */
    msx__forest forest;
    double *features;  /* (n_sampled, n_parameters) */
    double *predicted; /* (n_sampled) */
    double *probe;     /* (n_parameters) */
    int64_t *columns;  /* (n_parameters) of the group in hand */
    int64_t n_columns;
    int64_t *of_method; /* (n_sampled) rows that have the method in hand */
} measure;

/* ---- the forest -------------------------------------------------------------------------------- */

static msx_status add_categorical(measure *m, const report_parameter *p, const char *name) {
    char labels[128][8];
    const char *choices[128];
    size_t n = 0, length;
    for (; n < 128 && report_choice(p, (int64_t)n, &length); n++) {
        snprintf(labels[n], sizeof labels[n], "%zu", n);
        choices[n] = labels[n];
    }
    return msx_space_add_categorical(m->space, name, choices, n, 0);
}

/* Parameters are named by number: what a store calls them does not matter to a forest. */
static msx_status make_space(measure *m) {
    MSX_TRY(msx_space_create(&m->space, m->r->ctx));
    for (int64_t i = 0; i < m->r->n_parameters; i++) {
        const report_parameter *p = &m->r->parameters[i];
        char name[24];
        snprintf(name, sizeof name, "%" PRId64, i);
        if (!strcmp(p->kind, "categorical"))
            MSX_TRY(add_categorical(m, p, name));
        else
            MSX_TRY(msx_space_add_float(m->space, name, p->lower, p->upper, p->lower, false));
    }
    return MSX_OK;
}

static double predict(const measure *m, const double *features) {
    double sum = 0;
    for (int t = 0; t < TREES; t++) sum += exp(msx__forest_tree(&m->forest, t, features));
    return sum / TREES;
}

static const double *row(const measure *m, int64_t i) {
    return m->features + i * m->r->n_parameters;
}

static msx_status fit(measure *m) {
    report *r = m->r;
    int64_t n = r->n_sampled, d = r->n_parameters;
    m->features = msx__alloc(r->ctx, (size_t)n, (size_t)d * sizeof *m->features);
    m->predicted = msx__alloc(r->ctx, (size_t)n, sizeof *m->predicted);
    m->probe = msx__alloc(r->ctx, (size_t)d, sizeof *m->probe);
    m->columns = msx__alloc(r->ctx, (size_t)d, sizeof *m->columns);
    m->of_method = msx__alloc(r->ctx, (size_t)n, sizeof *m->of_method);
    if (!m->features || !m->predicted || !m->probe || !m->columns || !m->of_method)
        return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < d; k++)
            m->features[i * d + k] = msx__forest_encode(&m->space->params[k], r->x[i * d + k]);
        /* The forest's targets are logarithms. */
        m->predicted[i] = log(fmax(r->trials[r->sampled[i]].cost, 1e-6));
    }
    msx__forest_options options = {
        .trees = TREES, .feature_ratio = 1.0 / 3, .min_split = 4, .min_leaf = 2, .bootstrap = true};
    MSX_TRY(msx__forest_train(&m->forest, m->space, m->features, m->predicted, n, &options, 1));
    for (int64_t i = 0; i < n; i++) m->predicted[i] = predict(m, row(m, i));
    return MSX_OK;
}

/* ---- methods ----------------------------------------------------------------------------------- */

static int64_t find_method(const report_worth *w, const char *name, size_t length) {
    for (int64_t i = 0; i < w->n_methods; i++)
        if (!strncmp(w->methods[i], name, length) && !w->methods[i][length]) return i;
    return -1;
}

/* The methods of all groups, in the order in which the store names them. */
static msx_status list_methods(report *r) {
    report_worth *w = &r->worth;
    w->methods = msx__calloc(r->ctx, MOST_METHODS, sizeof *w->methods);
    if (!w->methods) return MSX_E_NOMEM;
    for (int64_t i = 0; i < r->n_parameters; i++) {
        size_t length;
        const char *name;
        for (int64_t k = 0;
             r->parameters[i].method && (name = report_choice(&r->parameters[i], k, &length));
             k++) {
            if (w->n_methods == MOST_METHODS || find_method(w, name, length) >= 0) continue;
            w->methods[w->n_methods] = msx__strndup(r->ctx, name, length);
            if (!w->methods[w->n_methods++]) return MSX_E_NOMEM;
        }
    }
    return MSX_OK;
}

/* ---- one group --------------------------------------------------------------------------------- */

/* Sums over donors. */
typedef struct sums {
    double mean, square, total;
    int64_t n;
} sums;

static void add_donor(measure *m, const double *donor, sums *s) {
    int64_t n = m->r->n_sampled, rows = n < BACKGROUND ? n : BACKGROUND;
    double mean = 0, total = 0;
    for (int64_t k = 0; k < rows; k++) {
        int64_t i = k * n / rows;
        memcpy(m->probe, row(m, i), (size_t)m->r->n_parameters * sizeof *m->probe);
        for (int64_t c = 0; c < m->n_columns; c++) m->probe[m->columns[c]] = donor[m->columns[c]];
        double f = predict(m, m->probe);
        mean += f;
        total += (f - m->predicted[i]) * (f - m->predicted[i]);
    }
    mean /= (double)rows;
    s->mean += mean;
    s->square += mean * mean;
    s->total += total / (double)rows / 2;
    s->n++;
}

/* Up to DONORS of the rows that have a choice in the method's column; column -1: all rows. */
static sums add_donors(measure *m, int64_t column, int64_t choice, int64_t *count) {
    sums s = {0};
    const report *r = m->r;
    *count = 0;
    for (int64_t i = 0; i < r->n_sampled; i++)
        if (column < 0 || r->x[i * r->n_parameters + column] == (double)choice)
            m->of_method[(*count)++] = i;
    int64_t donors = *count < DONORS ? *count : DONORS;
    for (int64_t k = 0; k < donors; k++)
        add_donor(m, row(m, m->of_method[k * *count / donors]), &s);
    return s;
}

static void measure_group(measure *m, int64_t group) {
    report *r = m->r;
    report_worth *w = &r->worth;
    const report_parameter *method = NULL;
    m->n_columns = 0;
    for (int64_t i = 0; i < r->n_parameters; i++) {
        if (r->parameters[i].group != group) continue;
        m->columns[m->n_columns++] = i;
        if (r->parameters[i].method) method = &r->parameters[i];
    }
    if (!m->n_columns) return;
    double means[128] = {0}, mean = 0, square = 0, total = 0;
    int64_t counts[128] = {0}, choices = 1, known = 0;
    size_t length;
    while (method && choices < 128 && report_choice(method, choices, &length)) choices++;
    for (int64_t k = 0; k < choices; k++) {
        sums s = add_donors(m, method ? method->index : -1, k, &counts[k]);
        if (!s.n) continue;
        double weight = (double)counts[k], n = (double)s.n;
        means[k] = s.mean / n;
        mean += weight * means[k];
        square += weight * s.square / n;
        total += weight * s.total / n;
        known += counts[k];
    }
    if (!known) return;
    mean /= (double)known;
    w->groups[group].share = total / (double)known;
    w->groups[group].alone =
        fmin(fmax(square / (double)known - mean * mean, 0), w->groups[group].share);
    for (int64_t k = 0; method && k < choices; k++) {
        const char *name = report_choice(method, k, &length);
        int64_t at = find_method(w, name, length);
        if (at < 0) continue;
        report_method_worth *cell = &w->methods_worth[group * w->n_methods + at];
        cell->trials = counts[k];
        if (counts[k] >= FEW) cell->dice = mean - means[k];
    }
}

/* ---- all of them ------------------------------------------------------------------------------- */

static msx_status measure_all(measure *m) {
    report *r = m->r;
    report_worth *w = &r->worth;
    MSX_TRY(list_methods(r));
    w->groups = msx__alloc(r->ctx, (size_t)r->n_groups, sizeof *w->groups);
    w->methods_worth =
        msx__alloc(r->ctx, (size_t)r->n_groups, (size_t)w->n_methods * sizeof *w->methods_worth);
    if (!w->groups || !w->methods_worth) return MSX_E_NOMEM;
    for (int64_t i = 0; i < r->n_groups; i++) w->groups[i] = (report_group_worth){NAN, NAN};
    for (int64_t i = 0; i < r->n_groups * w->n_methods; i++)
        w->methods_worth[i] = (report_method_worth){.dice = NAN};
    MSX_TRY(make_space(m));
    MSX_TRY(fit(m));
    double all = 0;
    for (int64_t i = 0; i < r->n_groups && i < REPORT_COLUMNS; i++) {
        MSX_TRY(msx__check_cancel(r->ctx));
        measure_group(m, i);
        if (!isnan(w->groups[i].share)) all += w->groups[i].share;
    }
    /* Trials that all cost the same say nothing about what matters. */
    for (int64_t i = 0; i < r->n_groups && all > 0; i++) {
        w->groups[i].share /= all;
        w->groups[i].alone /= all;
    }
    w->n_trials = all > 0 ? r->n_sampled : 0;
    return MSX_OK;
}

msx_status report_measure_groups(report *r) {
    if (r->n_sampled < FEWEST || !r->n_parameters || !r->n_groups) return MSX_OK;
    measure m = {.r = r};
    msx_status status = measure_all(&m);
    msx__forest_free(&m.forest);
    msx_space_free(m.space);
    msx__free(r->ctx, m.features);
    msx__free(r->ctx, m.predicted);
    msx__free(r->ctx, m.probe);
    msx__free(r->ctx, m.columns);
    msx__free(r->ctx, m.of_method);
    return status;
}

void report_worth_free(msx_ctx *ctx, report_worth *w) {
    for (int64_t i = 0; i < w->n_methods; i++) msx__free(ctx, w->methods[i]);
    msx__free(ctx, w->methods);
    msx__free(ctx, w->groups);
    msx__free(ctx, w->methods_worth);
    *w = (report_worth){0};
}
