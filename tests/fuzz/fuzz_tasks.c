/* SPDX-License-Identifier: Apache-2.0 */
/* The program's reader of task lists: any bytes give names, or a text that says the line. */
#include "../../examples/medsamix/task_list.c"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char error[TASK_LIST_ERROR] = "";
    task_list l;
    if (task_list_parse(&l, (const char *)data, size, "list", error) == 0) {
        size_t names = 0;
        for (size_t i = 0; i < l.n; i++) {
            if (!*l.items[i].folder || l.items[i].line < 1) abort();
            for (size_t k = 0; k < l.items[i].n; k++)
                if (!*l.items[i].labels[k]) abort();
            names += 1 + l.items[i].n;
        }
        if (!l.n || names != l.names || names > TASK_LIST_NAMES) abort();
    } else if (strncmp(error, "list:", 5) != 0 || l.n || l.items) {
        abort();
    }
    task_list_free(&l);
    return 0;
}
