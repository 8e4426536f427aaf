/* SPDX-License-Identifier: Apache-2.0 */
/* Proposals that cost less: most trials keep the first groups of the best trial that they may see, so that
 * they begin where these end.
 *
 * Of eight trials four change only what follows the encoder, two its last sixth as well, one its second
 * half, and one everything. What is found behind a boundary is thus tuned to the encoder that it
 * belongs to, as in coordinate descent over the stages of a pipeline, and a new encoder has to win
 * without such tuning only in a race over a few images. Costs that depend on what earlier trials left
 * behind are the setting of C.-H. Lin, J. Miano, E. Dyer, "Bayesian optimization for modular black-box
 * systems with switching costs", UAI 2021; a fixed schedule keeps proposals a function of the trial's
 * number. What this saves, and that nothing is lost, is measured in docs/benchmarks/demo_savings.md. */
#include "search/search_run.h"

/* Share of the encoder that trial n keeps; 0: everything is new. */
static double share_of(int64_t n) {
    return n % 2 ? 1 : n % 4 ? 5.0 / 6 : n % 8 ? 0.5 : 0;
}

/* The boundary nearest to a share of the depth at which a searched group begins; the deeper of two. */
static int64_t boundary_of(const msx__merge_space *s, double share) {
    double wanted = share * (double)s->depth, least = (double)s->depth + 1;
    int64_t best = -1;
    for (int64_t i = 0; i < s->n_groups; i++) {
        const msx__space_group *g = &s->groups[i];
        int64_t boundary = g->use - 1;
        if (g->state != MSX__GROUP_SEARCHED || boundary < 0 || boundary >= s->depth) continue;
        double distance = (double)boundary - wanted;
        if (distance < 0) distance = -distance;
        if (distance > least || (distance == least && boundary < best)) continue;
        least = distance;
        best = boundary;
    }
    return best;
}

int64_t msx__stage_of(const msx_search *s, int64_t n) {
    double share = share_of(n);
    if (!s->staged || share == 0) return -1;
    return share == 1 ? s->space.depth : boundary_of(&s->space, share);
}

msx_status msx__stage_ask(msx__proposer *p, int64_t n, int64_t *trial) {
    const msx_search *s = p->s;
    int64_t boundary = msx__stage_of(s, n);
    int64_t best = boundary < 0 ? -1 : msx__search_best_of(s, msx__visible_to(s, n));
    if (best >= 0) {
        msx__merge_space_prefix(&s->space, boundary, p->fixed);
        msx_status status =
            msx_optimizer_ask_like(p->optimizer, s->trials[best].x, p->fixed, p->x, trial);
        if (status != MSX_DONE_EXHAUSTED) return status;
    }
    return msx_optimizer_ask(p->optimizer, p->x, trial);
}
