/* SPDX-License-Identifier: Apache-2.0 */
/* What segmenting images and segmenting volumes share. */
#ifndef MEDSAMIX_SEGMENT_H
#define MEDSAMIX_SEGMENT_H

#include "program.h"

typedef struct segmenter {
    program *p;
    msx_model *model;
    bool multimask;
    int64_t size; /* of the network's input */
} segmenter;

/* Masks of several prompts in one picture: each pixel has the value of the mask that is surest there. */
typedef struct canvas {
    int64_t width, height;
    uint16_t *value;
    float *score;
} canvas;

int canvas_create(program *p, canvas *c, int64_t width, int64_t height);
void canvas_free(canvas *c);
/* Put one prompt's mask on it. */
int canvas_paint(segmenter *s, canvas *c, const msx_prediction *prediction, int64_t prompt,
                 uint16_t value);
/* 8 bit, or 16 bit when a value needs it. */
int canvas_image(program *p, const canvas *c, msx_image **out);
int64_t canvas_count(const canvas *c, uint16_t value);

/* The mask of a prompt that is used: the single-mask output, or the best of the others. */
int64_t chosen_mask(const segmenter *s, const msx_prediction *prediction, int64_t prompt);

bool is_volume(const char *path); /* by its ending */
/* n numbers, with or without brackets around them. */
int bracketed_numbers(program *p, const char *name, const char *text, double *out, size_t n);

/* The whole work after the model is loaded; an exit code. */
int segment_image(segmenter *s);
int segment_volume(segmenter *s);

#endif
