/* SPDX-License-Identifier: Apache-2.0 */
/* The search space as a store tells it, and configurations of it. */
#include "search/report.h"

#include <math.h>
#include <string.h>

enum { MOST_CHOICES = 128 };

static const char *const kinds[] = {"float", "int", "categorical"};
enum { CATEGORICAL = 2, N_KINDS = sizeof kinds / sizeof *kinds };

static int kind_of(const report_parameter *p) {
    int k = 0;
    while (k < N_KINDS && strcmp(p->kind, kinds[k]) != 0) k++;
    return k;
}

const char *report_choice(const report_parameter *p, int64_t i, size_t *n) {
    const char *at = p->choices;
    for (; i > 0; i--) {
        at = strchr(at, ',');
        if (!at) return NULL;
        at++;
    }
    *n = strcspn(at, ",");
    return at;
}

static int64_t choices_of(const report_parameter *p) {
    int64_t n = 1;
    for (const char *at = p->choices; (at = strchr(at, ',')); at++) n++;
    return n;
}

/* Parameters stand in the order of the groups, so the last group is the first guess. */
static int64_t group_of(const report *r, const report_parameter *p, const char *slash,
                        int64_t guess) {
    size_t length = (size_t)(slash - p->name);
    for (int64_t k = 0; k < r->n_groups; k++) {
        int64_t i = (guess + k) % r->n_groups;
        if (!strncmp(r->groups[i].name, p->name, length) && !r->groups[i].name[length]) return i;
    }
    return -1;
}

msx_status report_check_parameters(report *r) {
    int64_t guess = 0;
    for (int64_t i = 0; i < r->n_parameters; i++) {
        report_parameter *p = &r->parameters[i];
        int kind = kind_of(p);
        if (p->index != i) return report_bad(r, "parameters", i, "idx", "does not count from 0");
        if (kind == N_KINDS)
            return report_bad(r, "parameters", i, "kind", "is not float, int or categorical");
        if (p->lower > p->upper || !isfinite(p->upper - p->lower))
            return report_bad(r, "parameters", i, "upper", "is below the lower bound");
        if (kind == CATEGORICAL && (choices_of(p) > MOST_CHOICES || p->lower != 0 ||
                                    p->upper != (double)(choices_of(p) - 1)))
            return report_bad(r, "parameters", i, "choices", "do not fit the bounds");
        const char *slash = strrchr(p->name, '/');
        p->group = slash ? group_of(r, p, slash, guess) : -1;
        p->method = p->group >= 0 && kind == CATEGORICAL && !strcmp(slash, "/method");
        if (p->group >= 0) guess = p->group;
    }
    return MSX_OK;
}

msx_status report_check_configuration(report *r, const report_trial *t, const double *x) {
    for (int64_t i = 0; i < r->n_parameters; i++) {
        const report_parameter *p = &r->parameters[i];
        if (isnan(x[i])) continue; /* inactive */
        bool whole = strcmp(p->kind, "float") != 0;
        if (x[i] >= p->lower && x[i] <= p->upper && (!whole || x[i] == floor(x[i]))) continue;
        return msx__fail(r->ctx, MSX_E_FORMAT,
                         "%s: table trials: trial %" PRId64 ", column x: value %" PRId64
                         " is outside its bounds",
                         r->path, t->number, i);
    }
    return MSX_OK;
}
