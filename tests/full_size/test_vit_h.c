/* SPDX-License-Identifier: Apache-2.0 */
/* ViT-H at full size against the reference. */
#include "model/full_size.h"

int main(void) {
    return full_size_run(&(full_size){.name = "vit_h",
                                      .width = 1280,
                                      .head = 80,
                                      .depth = 32,
                                      .global_every = 8,
                                      .most_megabytes = 8192});
}
