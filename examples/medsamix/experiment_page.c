/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a study: tables as CSV, and the report. Every experiment leaves its part of the report in
 * FOLDER/sections; the report is all parts that are there. */
#include "experiment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_SECTION = 16 << 20 };

/* ---- files --------------------------------------------------------------------------------------------- */

char *study_path(program *p, const char *folder, const char *name, const char *ending) {
    char *path;
    if (asprintf(&path, "%s/%s.%s", folder, name, ending) >= 0) return path;
    program_fail(p, PROGRAM_LIMIT, "out of memory");
    return NULL;
}

int study_folder(program *p, const char *path) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return PROGRAM_DONE;
    return program_fail(p, PROGRAM_INPUT, "%s: cannot be made: %s", path, strerror(errno));
}

int study_write(program *p, const char *path, void (*write)(FILE *to, const void *payload),
                const void *payload) {
    char *temporary;
    if (asprintf(&temporary, "%s.%ld.part", path, (long)getpid()) < 0)
        return program_fail(p, PROGRAM_LIMIT, "out of memory");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (file) write(file, payload);
    bool good = file && !ferror(file) && fflush(file) == 0 && fsync(fd) == 0;
    int error = errno;
    if (file && fclose(file) != 0) good = false;
    if (good && rename(temporary, path) != 0) {
        error = errno;
        good = false;
    }
    if (!good && fd >= 0) unlink(temporary);
    free(temporary);
    if (good) return PROGRAM_DONE;
    return program_fail(p, PROGRAM_INPUT, "%s: cannot be written: %s", path, strerror(error));
}

void html_text(FILE *to, const char *text) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '&')
            fputs("&amp;", to);
        else if (c == '<')
            fputs("&lt;", to);
        else if (c == '>')
            fputs("&gt;", to);
        else if (c == '"')
            fputs("&quot;", to);
        else if (c == '\'')
            fputs("&#39;", to);
        else if (c < 32 || c == 127)
            fputs("\xEF\xBF\xBD", to);
        else
            fputc(c, to);
    }
}

/* ---- sections ------------------------------------------------------------------------------------------ */

void section_add(section *x, sheet *t) {
    x->sheets[x->n_sheets++] = t;
}

void section_free(section *x) {
    for (size_t i = 0; i < x->n_sheets; i++) sheet_free(x->sheets[i]);
    free(x->chart);
    *x = (section){0};
}

typedef struct part {
    const study *s;
    const experiment *e;
    const section *x;
} part;

static void write_part(FILE *to, const void *payload) {
    const part *w = payload;
    fprintf(
        to,
        "<section id=\"%s\" aria-labelledby=\"%s-h\"><h2 id=\"%s-h\">%s</h2><p class=\"lead\">%s"
        "</p>",
        w->e->name, w->e->name, w->e->name, w->e->title, w->e->about);
    if (w->x->chart) fwrite(w->x->chart, 1, w->x->chart_bytes, to);
    for (size_t i = 0; i < w->x->n_sheets; i++) sheet_write_html(to, w->x->sheets[i]);
    fputs("<p class=\"caption\">Searches: ", to);
    for (size_t i = 0, n = 0; i < w->s->n_cells; i++) {
        const study_cell *c = w->s->cells[i];
        if (!(c->used >> w->s->current & 1)) continue;
        fprintf(to, "%s<a href=\"cells/", n++ ? ", " : "");
        html_text(to, c->name);
        fputs(".html\">", to);
        html_text(to, c->name);
        fputs("</a>", to);
    }
    fputs(".</p></section>\n", to);
}

static const char style[] =
    ":root{--bg:#f6f6f3;--card:#fff;--ink:#1a2230;--soft:#566172;--line:#dfe2e7;--grid:#e9ebef;"
    "--accent:#0067ab;--a:#0072b2;--b:#d55e00;--c:#009e73}"
    "@media(prefers-color-scheme:dark){:root{--bg:#10141a;--card:#171d25;--ink:#e7ebf0;"
    "--soft:#9ba7b6;--line:#2b3440;--grid:#242c37;--accent:#5db5f2;--a:#4aa8e0;--b:#ef7d33;"
    "--c:#2fc096}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"
    "'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}"
    "main{max-width:1120px;margin:0 auto;padding:48px 24px 64px}"
    ".eyebrow{margin:0 0 6px;color:var(--accent);font-size:13px;font-weight:600;"
    "letter-spacing:.09em;text-transform:uppercase}"
    "h1{margin:0 0 16px;font-size:34px;line-height:1.18;letter-spacing:-.018em}"
    "section{background:var(--card);border:1px solid var(--line);border-radius:14px;"
    "padding:28px 32px 30px;margin:0 0 24px}"
    "h2{margin:0 0 4px;font-size:21px}h3{margin:26px 0 8px;font-size:15px}"
    ".lead{margin:0 0 18px;color:var(--soft);max-width:72ch}"
    ".caption{margin:10px 0 0;color:var(--soft);font-size:13.5px;max-width:100ch;"
    "overflow-wrap:anywhere}"
    "a{color:var(--accent)}"
    "nav{display:flex;flex-wrap:wrap;gap:4px 20px;margin:0 0 24px;font-size:14px}"
    "nav a{color:var(--soft);text-decoration:none}nav a:hover{color:var(--accent)}"
    "a:focus-visible,[tabindex]:focus-visible{outline:2px solid var(--accent);outline-offset:3px;"
    "border-radius:6px}"
    ".scroll,.figure{overflow-x:auto;position:relative}"
    "table{border-collapse:collapse;font-size:14px;min-width:55%}"
    "th,td{text-align:left;padding:7px 18px 7px 0;border-bottom:1px solid var(--line)}"
    "thead th{color:var(--soft);font-size:12.5px;vertical-align:bottom}"
    "tbody th{font-weight:550;white-space:nowrap}"
    ".num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "thead .num{white-space:normal}"
    ".sum>*{border-top:1.5px solid var(--soft)}"
    "svg{display:block}.figure svg{width:100%;max-width:760px;min-width:560px;height:auto}"
    "svg text{font-family:inherit;fill:var(--soft);font-size:12px}"
    ".grid{stroke:var(--grid)}.line{fill:none;stroke-width:2}.range{stroke-width:2}"
    ".s0{fill:var(--a)}.s0 path{stroke:var(--a)}.s1{fill:var(--b)}.s1 path{stroke:var(--b);"
    "}.s1 .line{stroke-dasharray:7 4}.s2{fill:var(--c)}.s2 path{stroke:var(--c)}"
    ".s2 .line{stroke-dasharray:2 4}.point{stroke:none}"
    ".legend{display:flex;flex-wrap:wrap;gap:6px 22px;margin:14px 0;color:var(--soft);"
    "font-size:13.5px}.legend span{display:inline-flex;align-items:center;gap:7px}"
    "footer{color:var(--soft);font-size:13.5px}"
    "@media(max-width:640px){main{padding:28px 14px 40px}section{padding:20px 16px 22px}"
    "h1{font-size:26px}}"
    "@media print{:root{--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--grid:#e4e4e4;"
    "--accent:#005a96;--a:#0072b2;--b:#d55e00;--c:#009e73}nav{display:none}"
    "body{font-size:10.5pt;print-color-adjust:exact}main{max-width:none;padding:0}"
    "section{border:0;padding:0}tr,.figure{break-inside:avoid}h2,h3{break-after:avoid}}";

/* Copy a part; nothing when it is not there. */
static void copy_part(FILE *to, const char *path) {
    char buffer[1 << 14];
    FILE *from = fopen(path, "rb");
    size_t n, all = 0;
    while (from && (n = fread(buffer, 1, sizeof buffer, from)) && (all += n) < MOST_SECTION)
        fwrite(buffer, 1, n, to);
    if (from) fclose(from);
}

static void write_report(FILE *to, const void *payload) {
    const study *s = payload;
    char *paths[16] = {0};
    fputs(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
        "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
        "'unsafe-inline'\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
        "<meta name=\"color-scheme\" content=\"light dark\"><title>medsamix experiments</title>"
        "<style>",
        to);
    fputs(style, to);
    fputs("</style></head><body><main><header><p class=\"eyebrow\">medsamix experiments \xC2\xB7 "
          "research use only</p><h1>Merging ",
          to);
    for (size_t i = 0; i < s->n_models; i++) {
        fputs(!i ? "" : i + 1 == s->n_models ? " and " : ", ", to);
        html_text(to, s->names[i]);
    }
    fprintf(to, " for %zu task%s</h1></header><nav aria-label=\"Experiments\">", s->list.n_tasks,
            s->list.n_tasks == 1 ? "" : "s");
    for (size_t i = 0; experiments[i]; i++) {
        if (asprintf(&paths[i], "%s/sections/%s.html", s->folder, experiments[i]->name) < 0)
            paths[i] = NULL;
        if (paths[i] && access(paths[i], R_OK) == 0)
            fprintf(to, "<a href=\"#%s\">%s</a>", experiments[i]->name, experiments[i]->title);
    }
    fputs("</nav>", to);
    for (size_t i = 0; experiments[i]; i++) {
        if (paths[i]) copy_part(to, paths[i]);
        free(paths[i]);
    }
    fputs(
        "<footer>For research use only; not a medical device and not for decisions about patients."
        "</footer></main></body></html>\n",
        to);
}

int section_write(study *s, const experiment *e, const section *x) {
    program *p = s->p;
    int code = PROGRAM_DONE;
    for (size_t i = 0; !code && i < x->n_sheets; i++)
        code = sheet_failed(x->sheets[i]) ? program_fail(p, PROGRAM_LIMIT, "out of memory")
                                          : sheet_write_csv(p, x->sheets[i], s->folder);
    char *folder = NULL;
    if (!code && asprintf(&folder, "%s/sections", s->folder) < 0) {
        folder = NULL;
        code = program_fail(p, PROGRAM_LIMIT, "out of memory");
    }
    if (!code) code = study_folder(p, folder);
    char *path = code ? NULL : study_path(p, folder, e->name, "html");
    char *report = code ? NULL : study_path(p, s->folder, "report", "html");
    if (!code && (!path || !report)) code = PROGRAM_LIMIT;
    if (!code) code = study_write(p, path, write_part, &(part){s, e, x});
    if (!code) code = study_write(p, report, write_report, s);
    free(folder);
    free(path);
    free(report);
    return code;
}
