/* SPDX-License-Identifier: Apache-2.0 */
/* ViT-L at full size against the reference. */
#include "model/full_size.h"

int main(void) {
    return full_size_run(&(full_size){.name = "vit_l",
                                      .width = 1024,
                                      .head = 64,
                                      .depth = 24,
                                      .global_every = 6,
                                      .most_megabytes = 4096});
}
