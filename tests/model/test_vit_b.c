/* SPDX-License-Identifier: Apache-2.0 */
/* ViT-B at full size against the reference. */
#include "full_size.h"

int main(void) {
    return full_size_run(&(full_size){.name = "vit_b",
                                      .width = 768,
                                      .head = 64,
                                      .depth = 12,
                                      .global_every = 3,
                                      .most_megabytes = 2048});
}
