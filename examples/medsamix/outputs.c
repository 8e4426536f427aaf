/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the outputs can be written, asked before anything is computed: a search of hours must not
 * end at a folder that does not exist, and no file may be replaced that the same command reads. */
#include "program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    if (!strcmp(a, b)) return true;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The ending is one of "a|b". */
static bool ends_as(const char *path, const char *endings) {
    for (size_t n; *endings; endings += n + (endings[n] == '|')) {
        n = strcspn(endings, "|");
        size_t length = strlen(path);
        if (length > n && !strncasecmp(path + length - n, endings, n)) return true;
    }
    return false;
}

static int check_place(program *p, const program_option *o, const char *path) {
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (o->endings && !ends_as(path, o->endings))
        return program_usage(p, "--%s %s: the name has to end in %s", o->name, path, o->endings);
    bool exists = stat(path, &st) == 0;
    if (exists && o->folder && !S_ISDIR(st.st_mode))
        return program_fail(p, PROGRAM_INPUT, "%s: is no folder; give one to --%s", path, o->name);
    if (exists && !o->folder && !S_ISREG(st.st_mode))
        return program_fail(p, PROGRAM_INPUT, "%s: is %s; give a file name to --%s", path,
                            S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe", o->name);
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    bool writable = stat(folder, &st) == 0 && access(folder, W_OK | X_OK) == 0;
    free(folder);
    return writable ? PROGRAM_DONE
                    : program_fail(p, PROGRAM_INPUT,
                                   "%s: cannot be written: %s; give --%s another "
                                   "folder",
                                   path, strerror(errno), o->name);
}

/* No two outputs in one file, and none in a file that is read. `value` is a path or NAME=PATH. */
static int check_pair(program *p, const char *name, const char *path, const char *other,
                      const char *value) {
    const char *equals = strchr(value, '=');
    if (!same_file(path, value) && !(equals && same_file(path, equals + 1))) return PROGRAM_DONE;
    return program_usage(p, "--%s %s: is the same file as %s%s; give another name", name, path,
                         other ? "--" : "the input", other ? other : "");
}

int outputs_check_input(program *p, const char *input) {
    const program_option *o;
    const char *path;
    for (size_t i = 0; (path = option_value(p, i, &o)); i++) {
        int code = o->written ? check_pair(p, o->name, path, NULL, input) : PROGRAM_DONE;
        if (code) return code;
    }
    return PROGRAM_DONE;
}

int outputs_check(program *p) {
    const program_option *o, *other;
    const char *path, *value;
    for (size_t i = 0; (path = option_value(p, i, &o)); i++) {
        if (!o->written) continue;
        int code = check_place(p, o, path);
        for (size_t k = 0; !code && (value = option_value(p, k, &other)); k++)
            if (other->kind == OPTION_TEXT && other != o)
                code = check_pair(p, o->name, path, other->name, value);
        for (int k = 0; !code && k < p->n_arguments; k++)
            code = check_pair(p, o->name, path, NULL, p->arguments[k]);
        if (code) return code;
    }
    return PROGRAM_DONE;
}
