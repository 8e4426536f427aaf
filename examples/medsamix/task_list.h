/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of data sets and labels: docs/formats/tasks.md. */
#ifndef MEDSAMIX_TASK_LIST_H
#define MEDSAMIX_TASK_LIST_H

#include <stddef.h>

enum { TASK_LIST_ERROR = 512, TASK_LIST_NAMES = 1024 /* data sets and labels in all, at most */ };

/* One line. */
typedef struct task_list_item {
    int line;
    char *folder; /* as written */
    char **labels;
    size_t n; /* 0: all labels */
} task_list_item;

typedef struct task_list {
    task_list_item *items;
    size_t n;
    size_t names;
} task_list;

/* Read a file: 0, or -1 with the text "FILE:LINE: what is wrong" in `error` and an empty list. */
int task_list_read(task_list *out, const char *path, char error[TASK_LIST_ERROR]);
/* The same of `n` bytes; `path` is for the text. */
int task_list_parse(task_list *out, const char *text, size_t n, const char *path,
                    char error[TASK_LIST_ERROR]);
void task_list_free(task_list *l);

#endif
