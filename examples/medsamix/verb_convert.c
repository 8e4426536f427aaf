/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix convert: a checkpoint in another container, with other names, in another type. */
#include "program.h"

#include <string.h>

static const program_option options[] = {
    {.name = "names",
     .kind = OPTION_TEXT,
     .argument = "SCHEME",
     .choices = "official|hf",
     .help = "names of the tensors: official, or hf for transformers' SamModel (official)"},
    {.name = "dtype",
     .kind = OPTION_TEXT,
     .argument = "TYPE",
     .choices = "f32|f16|bf16|f64",
     .help = "element type, rounded to nearest even: f32, f16, bf16 or f64 (f32)"},
    {.name = "shard-size",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 1000000,
     .argument = "MB",
     .help = "megabytes of one file, with an OUT that is an index of several (5000)"},
    {.name = "fold-lora",
     .kind = OPTION_FLAG,
     .help = "fold the LoRA weights of micro-sam into the layers they adapt"},
    {.name = "lora-alpha",
     .kind = OPTION_DOUBLE,
     .argument = "A",
     .help = "scale of the LoRA weights, which the file does not say (1)"},
    PROGRAM_SIZE_OPTIONS,
    {0},
};

static msx_dtype dtype_of(const char *name) {
    static const msx_dtype types[] = {MSX_DTYPE_F16, MSX_DTYPE_BF16, MSX_DTYPE_F64};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(name, msx_dtype_name(types[i]))) return types[i];
    return MSX_DTYPE_F32;
}

/* What the file becomes in memory, replacing *c, before it is written. */
static msx_status transform(program *p, msx_checkpoint **c) {
    msx_checkpoint *made = NULL;
    msx_status status = MSX_OK;
    if (option_given(p, "fold-lora")) {
        status = msx_checkpoint_fold_lora(&made, *c, option_double(p, "lora-alpha", 1));
        if (status < 0) return status;
        msx_checkpoint_free(*c);
        *c = made;
    }
    if (option_given(p, "image-size")) {
        status =
            msx_checkpoint_resize(&made, *c, option_int(p, "image-size", 0), program_positions(p));
        if (status < 0) return status;
        msx_checkpoint_free(*c);
        *c = made;
    }
    return status;
}

static int run(program *p) {
    const char *from = p->arguments[0], *to = p->arguments[1];
    if (option_given(p, "lora-alpha") && !option_given(p, "fold-lora"))
        return program_usage(p, "--lora-alpha goes with --fold-lora");
    int code = program_check_size(p);
    if (code) return code;
    msx_save_options save = {.struct_size = sizeof save};
    save.dtype = dtype_of(option_or(p, "dtype", "f32"));
    save.scheme = option_or(p, "names", "official");
    save.shard_bytes = 1000000 * option_int(p, "shard-size", 0);
    msx_checkpoint *c;
    msx_status status = msx_checkpoint_open(&c, p->ctx, from);
    if (status < 0) return program_status(p, status);
    int64_t dropped = 0;
    for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
        msx_dtype t = msx_checkpoint_dtype(c, i);
        dropped +=
            t != MSX_DTYPE_F32 && t != MSX_DTYPE_F16 && t != MSX_DTYPE_BF16 && t != MSX_DTYPE_F64;
    }
    char container[32];
    snprintf(container, sizeof container, "%s", msx_checkpoint_container(c));
    int64_t tensors = msx_checkpoint_count(c) - dropped;
    status = transform(p, &c);
    if (msx_checkpoint_path(c)[0] == 0) tensors = msx_checkpoint_count(c); /* in memory */
    if (status >= 0) status = msx_checkpoint_save(c, to, &save);
    msx_checkpoint_free(c);
    if (status < 0) return program_status(p, status);
    if (p->json)
        return program_json(p, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "input", from,
                                         "container", container, "output", to, "names", save.scheme,
                                         "dtype", msx_dtype_name(save.dtype), "tensors",
                                         (json_int_t)tensors, "dropped", (json_int_t)dropped));
    progress_clear();
    if (p->quiet) return PROGRAM_DONE;
    printf("%s: %lld tensors, %s, %s names\n", to, (long long)tensors, msx_dtype_name(save.dtype),
           save.scheme);
    if (dropped) printf("%lld tensors of whole numbers were left out\n", (long long)dropped);
    return PROGRAM_DONE;
}

const program_verb verb_convert = {
    .name = "convert",
    .summary = "write a checkpoint in another container, naming or element type",
    .synopsis = "IN OUT [--names official|hf] [--dtype f32|f16|bf16|f64]\n"
                "                [--shard-size MB] [--fold-lora [--lora-alpha A]]\n"
                "                [--image-size N]",
    .about =
        "Reads a torch file (.pth, .pt; zip or legacy; nothing in it is executed) or\n"
        "safetensors, or the index of safetensors shards. The ending of OUT chooses what is written:\n"
        ".pth, .pt, .safetensors, or .safetensors.index.json for shards and their index.",
    .options = options,
    .min_arguments = 2,
    .max_arguments = 2,
    .opens = true,
    .run = run,
};
