/* SPDX-License-Identifier: Apache-2.0 */
/* Masks as run lengths in the order of COCO: columns first. */
#include "model/masks.h"

#include <string.h>

/* `n` more pixels that are `inside` or not. */
static msx_status push(msx__runs *r, msx_ctx *ctx, bool inside, int64_t n) {
    if (!n) return MSX_OK;
    /* Runs of even number lie outside; a mask that begins inside has an empty one first. */
    while (!r->n || (r->n % 2 == 0) != inside) {
        void *array = r->length;
        MSX_TRY(msx__grow(ctx, &array, r->n, &r->capacity, sizeof *r->length));
        r->length = array;
        r->length[r->n++] = 0;
    }
    r->length[r->n - 1] += (uint32_t)n;
    return MSX_OK;
}

/* (height, width) -> (width, height), in squares that stay in cache */
static void turn(uint8_t *to, const uint8_t *from, int64_t width, int64_t height) {
    enum { SIDE = 64 };
    for (int64_t y0 = 0; y0 < height; y0 += SIDE)
        for (int64_t x0 = 0; x0 < width; x0 += SIDE)
            for (int64_t x = x0; x < width && x < x0 + SIDE; x++)
                for (int64_t y = y0; y < height && y < y0 + SIDE; y++)
                    to[x * height + y] = from[y * width + x];
}

static msx_status push_column(msx__runs *r, msx_ctx *ctx, const uint8_t *column, int64_t n) {
    for (int64_t y = 0, end; y < n; y = end) {
        const uint8_t *change = memchr(column + y, !column[y], (size_t)(n - y));
        end = change ? change - column : n;
        MSX_TRY(push(r, ctx, column[y], end - y));
    }
    return MSX_OK;
}

msx_status msx__runs_encode(msx__runs *r, msx_ctx *ctx, const uint8_t *mask, const int64_t crop[4],
                            int64_t width, int64_t height) {
    int64_t w = crop[2] - crop[0], h = crop[3] - crop[1];
    *r = (msx__runs){NULL, 0, 0};
    uint8_t *columns = msx__alloc(ctx, (size_t)(w * h), 1);
    if (!columns) return MSX_E_NOMEM;
    turn(columns, mask, w, h);
    msx_status status = push(r, ctx, false, crop[0] * height);
    for (int64_t x = 0; x < w && status == MSX_OK; x++) {
        status = push(r, ctx, false, crop[1]);
        if (status == MSX_OK) status = push_column(r, ctx, columns + x * h, h);
        if (status == MSX_OK) status = push(r, ctx, false, height - crop[3]);
    }
    if (status == MSX_OK) status = push(r, ctx, false, (width - crop[2]) * height);
    msx__free(ctx, columns);
    return status;
}

void msx__runs_decode(const msx__runs *r, uint8_t *mask, int64_t width, int64_t height) {
    int64_t x = 0, y = 0;
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t left = r->length[i], n; left; left -= n) {
            n = left < height - y ? left : height - y;
            for (int64_t k = 0; i % 2 && k < n; k++) mask[(y + k) * width + x] = 1;
            y += n;
            if (y == height) y = 0, x++;
        }
}

int64_t msx__runs_area(const msx__runs *r) {
    int64_t sum = 0;
    for (int64_t i = 1; i < r->n; i += 2) sum += r->length[i];
    return sum;
}

void msx__mask_box(const uint8_t *mask, int64_t width, int64_t height, int64_t box[4]) {
    int64_t x0 = width, y0 = -1, x1 = -1, y1 = -1;
    for (int64_t y = 0; y < height; y++) {
        const uint8_t *row = mask + y * width, *first = memchr(row, 1, (size_t)width);
        if (!first) continue;
        const uint8_t *last = memrchr(row, 1, (size_t)width);
        if (y0 < 0) y0 = y;
        y1 = y;
        if (first - row < x0) x0 = first - row;
        if (last - row > x1) x1 = last - row;
    }
    bool empty = y0 < 0;
    memcpy(box, (int64_t[4]){empty ? 0 : x0, empty ? 0 : y0, empty ? 0 : x1, empty ? 0 : y1},
           4 * sizeof *box);
}
