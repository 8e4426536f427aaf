/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix inspect: what is in a checkpoint, and which SAM it is. */
#include "program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const program_option options[] = {
    {.name = "tensors", .kind = OPTION_FLAG, .help = "list every tensor"},
    {.name = "groups", .kind = OPTION_FLAG, .help = "list the layer groups that a merge speaks of"},
    {.name = "granularity",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 4,
     .argument = "N",
     .help = "with --groups: encoder blocks per group, 1 to 4 (1)"},
    {0},
};

typedef struct contents {
    msx_checkpoint *c;
    msx_arch *arch; /* NULL: not a complete SAM */
    char why[2048]; /* the reason then */
    int64_t elements, nonfinite, unread;
    char dtypes[160];   /* "f32" or "f32, i64" */
    int64_t *bad;       /* count per tensor: non-finite values */
    double *squares;    /* per tensor: sum of the squares of its finite values */
    msx_groups *groups; /* with --groups */
} contents;

/* The largest floating tensor sets the memory needed; the data is looked at once. */
static msx_status look_at_values(program *p, contents *x) {
    int64_t n = msx_checkpoint_count(x->c);
    x->bad = calloc((size_t)n + 1, sizeof *x->bad);
    x->squares = calloc((size_t)n + 1, sizeof *x->squares);
    if (!x->bad || !x->squares) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        int64_t elements = msx_checkpoint_elements(x->c, i);
        float *data = malloc((size_t)elements * sizeof *data + 1);
        if (!data) return MSX_E_NOMEM;
        msx_status status = msx_checkpoint_read(x->c, i, data, elements);
        for (int64_t k = 0; status == MSX_OK && k < elements; k++)
            if (isfinite(data[k]))
                x->squares[i] += (double)data[k] * (double)data[k];
            else
                x->bad[i]++;
        free(data);
        x->elements += elements;
        x->nonfinite += x->bad[i];
        if (status == MSX_E_UNSUPPORTED) /* whole numbers */
            x->unread++;
        else if (status < 0)
            return status;
        if (msx_ctx_cancelled(p->ctx)) return MSX_E_CANCELLED;
    }
    return MSX_OK;
}

static void list_dtypes(contents *x) {
    uint32_t seen = 0;
    for (int64_t i = 0; i < msx_checkpoint_count(x->c); i++) {
        msx_dtype t = msx_checkpoint_dtype(x->c, i);
        if (seen >> t & 1) continue;
        seen |= 1u << t;
        size_t at = strlen(x->dtypes);
        snprintf(x->dtypes + at, sizeof x->dtypes - at, "%s%s", at ? ", " : "", msx_dtype_name(t));
    }
}

/* ---- layer groups -------------------------------------------------------------------------- */

/* What of a group's tensors is said: how many, their elements, root mean square, non-finite values. */
typedef struct group_sums {
    int64_t tensors, elements, nonfinite;
    double rms;
} group_sums;

static group_sums sums_of(const contents *x, int64_t group) {
    group_sums s = {0};
    double squares = 0;
    for (int64_t i = 0; i < msx_checkpoint_count(x->c); i++) {
        if (msx_groups_of_tensor(x->groups, msx_checkpoint_name(x->c, i)) != group) continue;
        s.tensors++;
        s.elements += msx_checkpoint_elements(x->c, i);
        s.nonfinite += x->bad[i];
        squares += x->squares[i];
    }
    int64_t finite = s.elements - s.nonfinite;
    s.rms = finite ? sqrt(squares / (double)finite) : NAN;
    return s;
}

static const struct {
    msx_arch_key key;
    const char *name;
} properties[] = {
    {MSX_ARCH_IMAGE_SIZE, "image_size"},
    {MSX_ARCH_PATCH, "patch"},
    {MSX_ARCH_GRID, "grid"},
    {MSX_ARCH_WIDTH, "width"},
    {MSX_ARCH_DEPTH, "depth"},
    {MSX_ARCH_HEADS, "heads"},
    {MSX_ARCH_MLP, "mlp"},
    {MSX_ARCH_WINDOW, "window"},
    {MSX_ARCH_DECODER_WIDTH, "decoder_width"},
    {MSX_ARCH_DECODER_MLP, "decoder_mlp"},
    {MSX_ARCH_DECODER_LAYERS, "decoder_layers"},
    {MSX_ARCH_MASK_TOKENS, "mask_tokens"},
    {MSX_ARCH_PARAMETERS, "parameters"},
    {MSX_ARCH_EXTRA_TENSORS, "extra_tensors"},
};

static void shape_text(const contents *x, int64_t i, char *out, size_t room) {
    size_t at = 0;
    out[0] = 0;
    for (int a = 0; a < msx_checkpoint_rank(x->c, i) && at < room; a++)
        at += (size_t)snprintf(out + at, room - at, "%s%lld", a ? " x " : "",
                               (long long)msx_checkpoint_dim(x->c, i, a));
    if (at == 0) snprintf(out, room, "scalar");
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static json_t *arch_json(const msx_arch *a) {
    json_t *object = json_pack("{s:s}", "name", msx_arch_name(a));
    for (size_t i = 0; object && i < sizeof properties / sizeof *properties; i++)
        json_object_set_new(object, properties[i].name,
                            json_integer(msx_arch_get(a, properties[i].key)));
    json_t *global = json_array();
    for (int64_t b = 0; b < msx_arch_get(a, MSX_ARCH_DEPTH); b++)
        if (msx_arch_is_global(a, b)) json_array_append_new(global, json_integer(b));
    json_object_set_new(object, "global_blocks", global);
    return object;
}

static json_t *tensors_json(const contents *x) {
    json_t *list = json_array();
    for (int64_t i = 0; i < msx_checkpoint_count(x->c); i++) {
        json_t *shape = json_array();
        for (int a = 0; a < msx_checkpoint_rank(x->c, i); a++)
            json_array_append_new(shape, json_integer(msx_checkpoint_dim(x->c, i, a)));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:I}", "name",
                                              msx_checkpoint_name(x->c, i), "dtype",
                                              msx_dtype_name(msx_checkpoint_dtype(x->c, i)),
                                              "shape", shape, "nonfinite", (json_int_t)x->bad[i]));
    }
    return list;
}

static json_t *groups_json(const contents *x) {
    json_t *list = json_array();
    for (int64_t i = 0; i < msx_groups_count(x->groups); i++) {
        group_sums s = sums_of(x, i);
        json_array_append_new(
            list,
            json_pack("{s:s, s:I, s:I, s:I, s:o, s:I}", "group", msx_groups_name(x->groups, i),
                      "tensors", (json_int_t)s.tensors, "elements", (json_int_t)s.elements,
                      "reached_by_boxes", (json_int_t)msx_groups_reached(x->groups, i), "rms",
                      json_number(s.rms), "nonfinite", (json_int_t)s.nonfinite));
    }
    return list;
}

static int print_json(program *p, const contents *x, const char *hash) {
    json_t *meta = json_object();
    for (int64_t i = 0; i < msx_checkpoint_meta_count(x->c); i++) {
        const char *key = msx_checkpoint_meta_key(x->c, i);
        json_object_set_new(meta, key, json_string(msx_checkpoint_meta(x->c, key)));
    }
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:o, s:o}", "file", p->arguments[0],
        "sha256", hash, "container", msx_checkpoint_container(x->c), "nesting",
        msx_checkpoint_nesting(x->c), "prefix", msx_checkpoint_prefix(x->c), "names",
        msx_checkpoint_scheme(x->c), "tensors", (json_int_t)msx_checkpoint_count(x->c), "dtypes",
        x->dtypes, "elements", (json_int_t)x->elements, "nonfinite", (json_int_t)x->nonfinite,
        "architecture", x->arch ? arch_json(x->arch) : json_null(), "metadata", meta);
    if (object && !x->arch) json_object_set_new(object, "why", json_string(x->why));
    if (object && option_given(p, "tensors")) json_object_set_new(object, "list", tensors_json(x));
    if (object && x->groups) json_object_set_new(object, "groups", groups_json(x));
    return program_json(p, object);
}

/* ---- text ---------------------------------------------------------------------------------- */

static void print_arch(const msx_arch *a) {
    printf("architecture  %s\n", msx_arch_name(a));
    printf("image         %lld pixels, patch %lld, grid %lld\n",
           (long long)msx_arch_get(a, MSX_ARCH_IMAGE_SIZE),
           (long long)msx_arch_get(a, MSX_ARCH_PATCH), (long long)msx_arch_get(a, MSX_ARCH_GRID));
    printf("encoder       width %lld, depth %lld, heads %lld, MLP %lld, window %lld\n",
           (long long)msx_arch_get(a, MSX_ARCH_WIDTH), (long long)msx_arch_get(a, MSX_ARCH_DEPTH),
           (long long)msx_arch_get(a, MSX_ARCH_HEADS), (long long)msx_arch_get(a, MSX_ARCH_MLP),
           (long long)msx_arch_get(a, MSX_ARCH_WINDOW));
    printf("global blocks");
    const char *before = " ";
    for (int64_t b = 0; b < msx_arch_get(a, MSX_ARCH_DEPTH); b++)
        if (msx_arch_is_global(a, b)) {
            printf("%s%lld", before, (long long)b);
            before = ", ";
        }
    printf("%s\n", *before == ' ' ? " none" : "");
    printf("decoder       width %lld, layers %lld, MLP %lld, mask tokens %lld\n",
           (long long)msx_arch_get(a, MSX_ARCH_DECODER_WIDTH),
           (long long)msx_arch_get(a, MSX_ARCH_DECODER_LAYERS),
           (long long)msx_arch_get(a, MSX_ARCH_DECODER_MLP),
           (long long)msx_arch_get(a, MSX_ARCH_MASK_TOKENS));
    printf("parameters    %lld\n", (long long)msx_arch_get(a, MSX_ARCH_PARAMETERS));
    int64_t extra = msx_arch_get(a, MSX_ARCH_EXTRA_TENSORS);
    if (extra) printf("not of a SAM  %lld tensors\n", (long long)extra);
}

/* What a file says about itself must not move the cursor. */
static void print_safely(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        putchar((unsigned char)text[i] < 32 || text[i] == 127 ? '?' : text[i]);
}

/* The first line of a value, or as much as fits; how many lines there are. */
static void print_meta(const msx_checkpoint *c) {
    enum { LONGEST = 64 };
    for (int64_t i = 0; i < msx_checkpoint_meta_count(c); i++) {
        const char *key = msx_checkpoint_meta_key(c, i), *value = msx_checkpoint_meta(c, key);
        size_t lines = 0, n = strcspn(value, "\n"), shown = n < LONGEST ? n : LONGEST;
        for (const char *q = value; *q; q++) lines += *q == '\n';
        print_safely(key, strlen(key));
        fputs(": ", stdout);
        print_safely(value, shown);
        if (shown < n) fputs("...", stdout);
        if (lines > 1) printf(" (%zu lines)", lines);
        putchar('\n');
    }
}

static int print_tensors(program *p, const contents *x) {
    static const char *const heads[] = {"tensor", "type", "shape", ">non-finite"};
    table *t = table_create(heads, 4);
    for (int64_t i = 0; i < msx_checkpoint_count(x->c); i++) {
        char shape[200];
        shape_text(x, i, shape, sizeof shape);
        table_cell(t, "%s", msx_checkpoint_name(x->c, i));
        table_cell(t, "%s", msx_dtype_name(msx_checkpoint_dtype(x->c, i)));
        table_cell(t, "%s", shape);
        table_cell(t, "%lld", (long long)x->bad[i]);
    }
    int code = table_print(p, t);
    table_free(t);
    return code;
}

static int print_groups(program *p, const contents *x) {
    static const char *const heads[] = {"group",        ">tensors", ">elements",  ">of all",
                                        ">box prompts", ">RMS",     ">non-finite"};
    int64_t all = msx_arch_get(x->arch, MSX_ARCH_PARAMETERS);
    table *t = table_create(heads, 7);
    for (int64_t i = 0; i < msx_groups_count(x->groups); i++) {
        group_sums s = sums_of(x, i);
        table_cell(t, "%s", msx_groups_name(x->groups, i));
        table_cell(t, "%lld", (long long)s.tensors);
        table_cell(t, "%lld", (long long)s.elements);
        table_cell(t, "%.2f %%", 100 * (double)s.elements / (double)all);
        table_cell(t, "%.0f %%",
                   s.elements ? 100 * (double)msx_groups_reached(x->groups, i) / (double)s.elements
                              : 0);
        table_cell(t, "%.4g", s.rms);
        table_cell(t, "%lld", (long long)s.nonfinite);
    }
    int code = table_print(p, t);
    table_free(t);
    return code;
}

static int print_text(program *p, const contents *x, const char *hash) {
    const char *nesting = msx_checkpoint_nesting(x->c), *prefix = msx_checkpoint_prefix(x->c);
    progress_clear();
    printf("file          %s\n", p->arguments[0]);
    printf("sha256        %s\n", hash);
    printf("container     %s\n", msx_checkpoint_container(x->c));
    printf("nesting       %s\n", *nesting ? nesting : "none");
    printf("prefix        %s\n", *prefix ? prefix : "none");
    printf("names         %s\n", msx_checkpoint_scheme(x->c));
    printf("tensors       %lld, %lld elements of %s\n", (long long)msx_checkpoint_count(x->c),
           (long long)x->elements, *x->dtypes ? x->dtypes : "no type");
    printf("non-finite    %lld\n", (long long)x->nonfinite);
    if (x->arch)
        print_arch(x->arch);
    else
        printf("architecture  none: %s\n", x->why);
    print_meta(x->c);
    int code = x->groups ? print_groups(p, x) : PROGRAM_DONE;
    return !code && option_given(p, "tensors") ? print_tensors(p, x) : code;
}

static int inspect(program *p, contents *x) {
    char hash[65];
    msx_status status = msx_checkpoint_open(&x->c, p->ctx, p->arguments[0]);
    if (status < 0) return program_status(p, status);
    status = msx_arch_infer(&x->arch, p->ctx, x->c);
    if (status == MSX_E_SHAPE || status == MSX_E_UNSUPPORTED)
        snprintf(x->why, sizeof x->why, "%s", msx_ctx_error(p->ctx));
    else if (status < 0)
        return program_status(p, status);
    msx_ctx_clear_error(p->ctx);
    if (option_given(p, "groups")) {
        msx_granularity g = {sizeof g, (int)option_int(p, "granularity", 1), 1, 1};
        if (!x->arch)
            return program_fail(p, PROGRAM_INPUT, "%s; --groups needs a complete SAM", x->why);
        status = msx_groups_create(&x->groups, p->ctx, x->arch, &g);
        if (status < 0) return program_status(p, status);
    } else if (option_given(p, "granularity")) {
        return program_usage(p, "--granularity goes with --groups");
    }
    status = msx_checkpoint_sha256(x->c, hash);
    if (status < 0) return program_status(p, status);
    status = look_at_values(p, x);
    if (status < 0) return program_status(p, status);
    list_dtypes(x);
    return p->json ? print_json(p, x, hash) : print_text(p, x, hash);
}

static int run(program *p) {
    contents x = {0};
    int code = inspect(p, &x);
    free(x.bad);
    free(x.squares);
    msx_groups_free(x.groups);
    msx_arch_free(x.arch);
    msx_checkpoint_free(x.c);
    return code;
}

const program_verb verb_inspect = {
    .name = "inspect",
    .summary = "say what is in a checkpoint and which SAM it is",
    .synopsis = "FILE [--groups] [--tensors]",
    .about =
        "Container, nesting and prefix found, architecture inferred from the shapes, types,\n"
        "values that are not finite, metadata. Nothing in the file is executed. --groups adds for\n"
        "every layer group its size, the share that the mask of a box depends on, and the root\n"
        "mean square of its weights.",
    .options = options,
    .min_arguments = 1,
    .max_arguments = 1,
    .opens = true,
    .run = run,
};
