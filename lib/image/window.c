/* SPDX-License-Identifier: Apache-2.0 */
/* Intensity rules: voxels to 0..255 integers, over a whole volume and never slice by slice. Source:
 * pre_CT_MR.py of MedSAM (J. Ma et al., "Segment anything in medical images", Nature Communications
 * 15, 2024). Arithmetic in double, truncated as its astype(uint8). */
#include "image/window.h"
#include "image/pixels.h"
#include "image/volume.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- percentiles ----------------------------------------------------------------------------------- */

enum { BINS = 1 << 16, RANKS = 4 };

/* Positive floats order as their bits do, so that two counting passes (high and low half) find the
 * values of any ranks in linear time, whatever the values are. */
struct msx__window_ranks {
    int64_t high[BINS];       /* positive values by the high half of their bits */
    int64_t low[RANKS][BINS]; /* those of one high half, by the low half */
    uint32_t half[RANKS];     /* the high half of each wanted value */
    int64_t rank[RANKS];      /* its rank among all, then among those of its high half */
};

static uint32_t positive_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x > 0 && isfinite(x) ? bits : 0;
}

/* The bin of a rank; the rank becomes that inside the bin. */
static uint32_t bin_of(const int64_t *bins, int64_t *rank) {
    uint32_t bin = 0;
    while (bin < BINS - 1 && *rank >= bins[bin]) *rank -= bins[bin++];
    return bin;
}

static void count_high(msx__window_ranks *r, const float *v, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = positive_bits(v[i]);
        if (bits) r->high[bits >> 16]++;
    }
}

static void count_low(msx__window_ranks *r, const float *v, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = positive_bits(v[i]);
        for (int k = 0; bits && k < RANKS; k++)
            if (bits >> 16 == r->half[k]) r->low[k][bits & 0xffff]++;
    }
}

/* The two percentiles, each between the values of ranks floor(position) and the next. */
static const double percents[2] = {0.5, 99.5};

static double position_of(int which, int64_t positives) {
    return percents[which] / 100.0 * (double)(positives - 1);
}

static void find_high(msx__window_ranks *r, int64_t positives) {
    for (int k = 0; k < RANKS; k++) {
        r->rank[k] = (int64_t)floor(position_of(k / 2, positives)) + k % 2;
        if (r->rank[k] >= positives) r->rank[k] = positives - 1;
        r->half[k] = bin_of(r->high, &r->rank[k]);
    }
}

static double value_of(msx__window_ranks *r, int k) {
    int64_t rank = r->rank[k];
    uint32_t bits = r->half[k] << 16 | bin_of(r->low[k], &rank);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* numpy.percentile(values[values > 0], percent), linear interpolation. */
static double percentile(msx__window_ranks *r, int which, int64_t positives) {
    double position = position_of(which, positives), t = position - floor(position);
    double low = value_of(r, 2 * which), high = value_of(r, 2 * which + 1), step = high - low;
    return t < 0.5 ? low + step * t : high - step * (1 - t);
}

/* ---- rules ------------------------------------------------------------------------------------------ */

/* Clip to low..high, then what is left from its least to its largest value to 0..255. */
static void rescale(msx__window *w, double low, double high) {
    w->low = low;
    w->high = high;
    w->from = fmin(fmax(w->least, low), high);
    w->range = fmin(fmax(w->most, low), high) - w->from;
}

static msx_status parse_ct(msx__window *w, const char *rule, const char *args) {
    w->width = 400;
    w->level = 40;
    if (!args) return MSX_OK;
    const char *comma = strchr(args, ',');
    char first[64] = "";
    if (comma && comma - args < (int)sizeof first) memcpy(first, args, (size_t)(comma - args));
    if (comma && msx__parse_double(first, &w->width) && msx__parse_double(comma + 1, &w->level) &&
        w->width > 0)
        return MSX_OK;
    return msx__fail(w->ctx, MSX_E_ARG,
                     "intensity rule '%.100s': give ct:WIDTH,LEVEL with a width above 0, as "
                     "ct:400,40",
                     rule);
}

static msx_status settle_ct(msx__window *w) {
    rescale(w, w->level - w->width / 2, w->level + w->width / 2);
    return MSX_OK;
}

static msx_status settle_mr(msx__window *w) {
    if (w->positives == 0) {
        msx__log(w->ctx, MSX_LOG_WARNING, "%s%sno value is above 0; all become 0", w->name,
                 *w->name ? ": " : "");
        rescale(w, 0, 0);
        return MSX_OK;
    }
    rescale(w, percentile(w->ranks, 0, w->positives), percentile(w->ranks, 1, w->positives));
    return MSX_OK;
}

static msx_status settle_minmax(msx__window *w) {
    rescale(w, -INFINITY, INFINITY);
    return MSX_OK;
}

static msx_status settle_none(msx__window *w) {
    if (isnan(w->outside)) return MSX_OK;
    return msx__fail(w->ctx, MSX_E_ARG,
                     "%s%svalue %g is outside 0 to 255; choose an intensity rule: ct, mr or minmax",
                     w->name, *w->name ? ": " : "", w->outside);
}

static const struct msx__rule {
    const char *name;
    msx_status (*settle)(msx__window *w); /* when everything has been looked at */
    bool keep_zeros;                      /* values of 0 stay 0 */
    bool as_it_is;                        /* values are truncated and otherwise kept */
    bool ranks;                           /* percentiles are wanted: a second pass */
    msx_status (*parse)(msx__window *w, const char *rule, const char *args); /* NULL: takes none */
} rules[] = {{.name = "ct", .settle = settle_ct, .parse = parse_ct},
             {.name = "mr", .settle = settle_mr, .keep_zeros = true, .ranks = true},
             {.name = "minmax", .settle = settle_minmax},
             {.name = "none", .settle = settle_none, .as_it_is = true}};
enum { N_RULES = sizeof rules / sizeof *rules };

/* ---- values in pieces ------------------------------------------------------------------------------- */

msx_status msx__window_begin(msx__window *w, msx_ctx *ctx, const char *name, const char *rule) {
    *w = (msx__window){
        .ctx = ctx, .name = name, .least = INFINITY, .most = -INFINITY, .outside = NAN};
    const char *names[N_RULES], *colon = strchr(rule, ':');
    size_t length = colon ? (size_t)(colon - rule) : strlen(rule);
    for (size_t i = 0; i < N_RULES; i++) {
        names[i] = rules[i].name;
        if (strlen(names[i]) == length && !strncmp(names[i], rule, length)) w->rule = &rules[i];
    }
    if (!w->rule) return msx__unknown(ctx, "intensity rule", rule, names, N_RULES);
    if (colon && !w->rule->parse)
        return msx__fail(ctx, MSX_E_ARG, "intensity rule '%.100s': %s takes no numbers", rule,
                         w->rule->name);
    if (w->rule->parse) MSX_TRY(w->rule->parse(w, rule, colon ? colon + 1 : NULL));
    if (!w->rule->ranks) return MSX_OK;
    w->ranks = msx__calloc(ctx, 1, sizeof *w->ranks);
    return w->ranks ? MSX_OK : MSX_E_NOMEM;
}

void msx__window_end(msx__window *w) {
    if (w->ctx) msx__free(w->ctx, w->ranks);
    *w = (msx__window){.ctx = NULL};
}

int msx__window_passes(const msx__window *w) {
    return w->rule->ranks ? 2 : 1;
}

/* NaN and infinite voxels count as 0, the value outside of what was measured. */
static double clean(float x) {
    return isfinite(x) ? x : 0;
}

void msx__window_look(msx__window *w, int pass, const float *values, int64_t n) {
    if (pass > 0) {
        count_low(w->ranks, values, n);
        return;
    }
    if (w->ranks) count_high(w->ranks, values, n);
    w->n += n;
    for (int64_t i = 0; i < n; i++) {
        double x = clean(values[i]);
        w->bad += !isfinite(values[i]);
        w->positives += x > 0;
        if (x < w->least) w->least = x;
        if (x > w->most) w->most = x;
        if ((x < 0 || x > 255) && isnan(w->outside)) w->outside = x;
    }
}

msx_status msx__window_settle(msx__window *w, int pass) {
    if (pass == 0 && w->bad)
        msx__log(w->ctx, MSX_LOG_WARNING,
                 "%s%s%" PRId64 " of %" PRId64 " values are NaN or infinite; taken as 0", w->name,
                 *w->name ? ": " : "", w->bad, w->n);
    if (pass == 0 && w->ranks) find_high(w->ranks, w->positives);
    return pass + 1 == msx__window_passes(w) ? w->rule->settle(w) : MSX_OK;
}

void msx__window_apply(const msx__window *w, float *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double x = clean(values[i]);
        if (w->rule->as_it_is)
            values[i] = (float)floor(x);
        else if (w->range <= 0 || (w->rule->keep_zeros && x == 0))
            values[i] = 0;
        else
            values[i] = (float)floor((fmin(fmax(x, w->low), w->high) - w->from) / w->range * 255.0);
    }
}

msx_status msx__window_whole(msx_ctx *ctx, const char *name, float *values, int64_t n,
                             const char *rule) {
    msx__window w;
    msx_status status = msx__window_begin(&w, ctx, name, rule);
    for (int pass = 0; status == MSX_OK && pass < msx__window_passes(&w); pass++) {
        msx__window_look(&w, pass, values, n);
        status = msx__window_settle(&w, pass);
    }
    if (status == MSX_OK) msx__window_apply(&w, values, n);
    msx__window_end(&w);
    return status;
}

msx_status msx_volume_window(msx_volume *v, const char *rule) {
    if (!v || !v->data || !rule)
        return msx__fail(v ? v->ctx : NULL, MSX_E_ARG,
                         "msx_volume_window: NULL argument, or a volume without voxels");
    return msx__window_whole(v->ctx, v->name, v->data, v->dim[0] * v->dim[1] * v->dim[2], rule);
}

msx_status msx_image_window(msx_image **out, const msx_image *image, const char *rule) {
    if (out) *out = NULL;
    if (!out || !image)
        return msx__fail(image ? image->ctx : NULL, MSX_E_ARG, "msx_image_window: NULL argument");
    msx_ctx *ctx = image->ctx;
    bool copy = image->type == MSX_PIXEL_U8 && (!rule || !strcmp(rule, "none"));
    if (copy)
        return msx_image_create(out, ctx, image->width, image->height, image->channels,
                                MSX_PIXEL_U8, image->data);
    int64_t n = image->width * image->height * image->channels;
    float *values = msx__alloc(ctx, (size_t)n, sizeof *values);
    if (!values) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) values[i] = (float)msx__sample(image, i);
    msx_status status = msx__window_whole(ctx, "", values, n, rule ? rule : "minmax");
    if (status == MSX_OK)
        status = msx__image_new(out, ctx, "", image->width, image->height, image->channels,
                                MSX_PIXEL_U8);
    if (status == MSX_OK)
        for (int64_t i = 0; i < n; i++) ((uint8_t *)(*out)->data)[i] = (uint8_t)values[i];
    msx__free(ctx, values);
    return status;
}
