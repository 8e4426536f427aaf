/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of a figure with its name and description for those who do not see it, and the simple
 * shapes that figures are drawn with. */
#include "search/report.h"

#include <string.h>

void report_figure(msx__buffer *b, const char *class, const char *id, int64_t n, double width,
                   double height, const char *title) {
    msx__buffer_printf(b,
                       "<div class=\"%s\" role=\"group\" tabindex=\"0\" aria-label=\"%s\"><svg "
                       "id=\"%s-%" PRId64 "\" class=\"wide\" viewBox=\"0 0 ",
                       class, title, id, n);
    report_xy(b, "", width);
    report_xy(b, " ", height);
    msx__buffer_printf(b,
                       "\" role=\"img\" aria-labelledby=\"%s-%" PRId64 "-t %s-%" PRId64
                       "-d\"><title id=\"%s-%" PRId64 "-t\">%s</title><desc id=\"%s-%" PRId64
                       "-d\">",
                       id, n, id, n, id, n, title, id, n);
}

void report_figure_body(msx__buffer *b) {
    msx__buffer_text(b, "</desc>");
}

void report_figure_end(msx__buffer *b) {
    msx__buffer_text(b, "</svg></div>");
}

void report_line(msx__buffer *b, const char *class, double x0, double y0, double x1, double y1) {
    msx__buffer_printf(b, "<path class=\"%s\" d=\"", class);
    report_xy(b, "M", x0);
    report_xy(b, " ", y0);
    report_xy(b, "L", x1);
    report_xy(b, " ", y1);
    msx__buffer_text(b, "\"/>");
}

void report_box(msx__buffer *b, const char *class, double x, double y, double width,
                double height) {
    msx__buffer_printf(b, "<rect class=\"%s\"", class);
    report_xy(b, " x=\"", x);
    report_xy(b, "\" y=\"", y);
    report_xy(b, "\" width=\"", width);
    report_xy(b, "\" height=\"", height);
    msx__buffer_text(b, "\">");
}

void report_label(msx__buffer *b, const char *class, const char *anchor, double x, double y) {
    msx__buffer_printf(b, "<text class=\"%s\"", class);
    if (strcmp(anchor, "start") != 0) msx__buffer_printf(b, " text-anchor=\"%s\"", anchor);
    report_xy(b, " x=\"", x);
    report_xy(b, "\" y=\"", y);
    msx__buffer_text(b, "\">");
}

void report_label_text(msx__buffer *b, const char *class, const char *anchor, double x, double y,
                       const char *text, int most) {
    report_label(b, class, anchor, x, y);
    report_escape(b, text, most);
    msx__buffer_text(b, "</text>");
}
