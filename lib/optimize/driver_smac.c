/* SPDX-License-Identifier: Apache-2.0 */
/* SMAC and ParEGO: Sobol points, then a model of the costs says where to look. SMAC: F. Hutter, H. Hoos,
 * K. Leyton-Brown, "Sequential model-based optimization for general algorithm configuration", LION 2011;
 * its defaults, M. Lindauer et al., "SMAC3: a versatile Bayesian optimization package for hyperparameter
 * optimization", JMLR 23, 2022. ParEGO: J. Knowles, IEEE Trans. Evol. Comput. 10, 2006. */
#include "optimize/drivers.h"
#include "optimize/guide.h"
#include "optimize/sobol.h"

#include <math.h>
#include <string.h>

#define UNKNOWN_BUDGET 120  /* trials assumed when their number is not known */
#define MAX_PROCESS    2000 /* parameters; more are left to the forest */

static const char several; /* its address marks ParEGO's payload */

enum option {
    SMAC3,
    SURROGATE,
    INITIAL_PER_PARAMETER,
    INITIAL_SHARE,
    INTERLEAVE,
    EVEN_WEIGHTS,
    GP_CANDIDATES,
    GP_STARTS,
    TREES,
    FEATURE_RATIO,
    MIN_SPLIT,
    MIN_LEAF,
    BOOTSTRAP,
    LEAF_COPIES,
    FLOOR_GAP,
    FANTASIES,
    CANDIDATES,
    STARTS,
    RETRAIN_AFTER,
    NEIGHBOURS,
    STEP,
    PLATEAU_STEPS,
    N_OPTIONS
};

enum surrogate { FOREST = 1, PROCESS = 2 };

static const msx_option options_table[N_OPTIONS] = {
    [SMAC3] = {"smac3", 0, 0, 1, "1: options that are not set have the defaults of SMAC3 2.2"},
    [SURROGATE] = {"surrogate", PROCESS, FOREST, PROCESS,
                   "model of the costs: 1 random forest, 2 Gaussian process"},
    [INITIAL_PER_PARAMETER] = {"initial_per_parameter", 3, 0, 1000,
                               "at most so many initial trials for each parameter"},
    [INITIAL_SHARE] = {"initial_share", 0.1, 0, 1, "at most this share of the trials is initial"},
    [INTERLEAVE] = {"interleave", 0, 0, 1, "probability of a random configuration instead"},
    [EVEN_WEIGHTS] = {"even_weights", 1, 0, 1,
                      "parego: 1 weights uniform on the simplex, 0 as SMAC3 draws them"},
    [GP_CANDIDATES] = {"gp_candidates", 1000, 1, 1000000,
                       "process: random configurations scored, and half as many mutants"},
    [GP_STARTS] = {"gp_starts", 10, 1, 1000, "process: climbs from the best of them"},
    [TREES] = {"trees", 10, 1, MSX__MAX_TREES, "trees of the forest"},
    [FEATURE_RATIO] = {"feature_ratio", 1, 0.01, 1, "share of the features tried for each split"},
    [MIN_SPLIT] = {"min_split", 2, 2, 1000, "trials that a node needs to be split"},
    [MIN_LEAF] = {"min_leaf", 1, 1, 1000, "trials that each part of a split keeps"},
    [BOOTSTRAP] = {"bootstrap", 1, 0, 1, "1: each tree sees trials drawn with replacement"},
    [LEAF_COPIES] = {"leaf_copies", 1, 0, 1,
                     "1: a trial drawn twice counts twice in a leaf's mean"},
    [FLOOR_GAP] = {"floor_gap", MSX__FLOOR_GAP, 1e-10, 1,
                   "least distance, in ranges, of the logarithm's zero below the lowest cost"},
    [FANTASIES] = {"fantasies", 1, 0, 1, "1: running trials hold their prediction; 0: ignored"},
    [CANDIDATES] = {"candidates", 5000, 1, 1000000, "forest: random configurations scored"},
    [STARTS] = {"starts", 10, 1, 1000,
                "forest: local searches from the best of them, and from the best trials"},
    [RETRAIN_AFTER] = {"retrain_after", 1, 1, 1000000, "trials that one forest serves"},
    [NEIGHBOURS] = {"neighbours", 8, 1, 1000, "neighbours drawn for each number in local search"},
    [STEP] = {"step", 0.05, 0.0001, 1, "their standard deviation, as a share of the range"},
    [PLATEAU_STEPS] = {"plateau_steps", 10, 0, 1000,
                       "moves to equally good neighbours before a local search ends"},
};

/* HyperparameterOptimizationFacade and ParEGO of SMAC3 2.2, one run for each configuration. */
static const double smac3_values[N_OPTIONS] = {
    [SMAC3] = 1,
    [SURROGATE] = FOREST,
    [INITIAL_PER_PARAMETER] = 10,
    [INITIAL_SHARE] = 0.25,
    [INTERLEAVE] = 0.2,
    [EVEN_WEIGHTS] = 0,
    [GP_CANDIDATES] = 1000,
    [GP_STARTS] = 10,
    [TREES] = 10,
    [FEATURE_RATIO] = 1,
    [MIN_SPLIT] = 2,
    [MIN_LEAF] = 1,
    [BOOTSTRAP] = 1,
    [LEAF_COPIES] = 0,
    [FLOOR_GAP] = 1e-10,
    [FANTASIES] = 0,
    [CANDIDATES] = 10000,
    [STARTS] = 10,
    [RETRAIN_AFTER] = 8,
    [NEIGHBOURS] = 8,
    [STEP] = 0.05,
    [PLATEAU_STEPS] = 10,
};

static const msx_option_preset presets[] = {{SMAC3, 1, smac3_values}};

static msx_status create(void **state, const msx_history *h, const double *options, void *payload) {
    (void)options;
    msx__guide *g = msx__calloc(h->ctx, 1, sizeof *g);
    if (!g) return MSX_E_NOMEM;
    msx_status status = msx__guide_init(g, h, payload == &several);
    if (status < 0) {
        msx__free(h->ctx, g);
        return status;
    }
    *state = g;
    return MSX_OK;
}

static void destroy(void *state, void *payload) {
    (void)payload;
    msx__guide *g = state;
    msx_ctx *ctx = g->ctx;
    msx__guide_free(g);
    msx__free(ctx, g);
}

/* Trials before the model, the queued ones among them. */
static int64_t initial_trials(const msx_history *h, const double *options) {
    int64_t d = 0;
    for (int64_t i = 0; i < h->space->n; i++) d += msx__space_values(&h->space->params[i]) > 1;
    double trials = h->n_trials ? (double)h->n_trials : UNKNOWN_BUDGET;
    double n = fmin(options[INITIAL_PER_PARAMETER] * (double)d, options[INITIAL_SHARE] * trials);
    return n < 1 ? 1 : (int64_t)n;
}

static msx__guide_options guide_options(const msx_history *h, const double *options) {
    return (msx__guide_options){
        .process = options[SURROGATE] == PROCESS && h->space->n <= MAX_PROCESS,
        .initial = initial_trials(h, options),
        .retrain_after = (int64_t)options[RETRAIN_AFTER],
        .even_weights = options[EVEN_WEIGHTS] >= 0.5,
        .model = {.forest = {.trees = (int)options[TREES],
                             .feature_ratio = options[FEATURE_RATIO],
                             .min_split = (int)options[MIN_SPLIT],
                             .min_leaf = (int)options[MIN_LEAF],
                             .bootstrap = options[BOOTSTRAP] >= 0.5,
                             .distinct = options[LEAF_COPIES] < 0.5},
                  .floor_gap = options[FLOOR_GAP],
                  .fantasies = options[FANTASIES] >= 0.5},
        .acquire = {.candidates = (int64_t)options[CANDIDATES],
                    .starts = (int64_t)options[STARTS],
                    .walk = {.neighbours = (int)options[NEIGHBOURS],
                             .step = options[STEP],
                             .plateau_steps = (int)options[PLATEAU_STEPS]}},
        .climb = {.candidates = (int64_t)options[GP_CANDIDATES],
                  .starts = (int64_t)options[GP_STARTS]},
    };
}

static msx_status propose(void *state, const msx_history *h, const double *options, msx_rng *rng,
                          int attempt, double *x, const char **origin, void *payload) {
    (void)payload;
    msx__guide *g = state;
    const int64_t d = h->space->n;
    if (attempt == 0) {
        const msx__guide_options guide = guide_options(h, options);
        msx__proposals_free(&g->proposals, g->ctx);
        if (h->asked < guide.initial) {
            msx__space_sobol(h->space, rng->key, (uint64_t)h->asked, x);
            *origin = "sobol";
            return MSX_OK;
        }
        if (msx_rng_uniform(rng) >= options[INTERLEAVE])
            MSX_TRY(msx__guide_consult(g, h, &guide, rng));
    }
    if (attempt < g->proposals.n) {
        memcpy(x, g->proposals.x + attempt * d, (size_t)d * sizeof *x);
        *origin = "model";
    } else {
        msx__space_draw(h->space, rng, x);
        *origin = "random";
    }
    return MSX_OK;
}

const msx_optimizer_driver msx__driver_smac = {
    .struct_size = sizeof msx__driver_smac,
    .name = "smac",
    .about = "a model of the cost and expected improvement",
    .source = "F. Hutter, H. Hoos, K. Leyton-Brown, \"Sequential model-based optimization for "
              "general algorithm configuration\", LION 2011",
    .max_objectives = 1,
    .options = options_table,
    .n_options = N_OPTIONS,
    .create = create,
    .destroy = destroy,
    .propose = propose,
    .presets = presets,
    .n_presets = 1,
};

const msx_optimizer_driver msx__driver_parego = {
    .struct_size = sizeof msx__driver_parego,
    .name = "parego",
    .about = "smac on a random weighting of the objectives for each trial",
    .source =
        "J. Knowles, \"ParEGO: a hybrid algorithm with on-line landscape approximation for "
        "expensive multiobjective optimization problems\", IEEE Trans. Evol. Comput. 10, 2006",
    .options = options_table,
    .n_options = N_OPTIONS,
    .create = create,
    .destroy = destroy,
    .propose = propose,
    .payload = (void *)&several,
    .presets = presets,
    .n_presets = 1,
};
