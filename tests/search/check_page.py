# SPDX-License-Identifier: Apache-2.0
"""The report as a browser shows it: check_page.py PROGRAM FOLDER [BROWSER].

PROGRAM is medsamix, FOLDER an empty one for stores and pages. Without BROWSER only the colours are
checked. With "page" for PROGRAM: check_page.py page FILE BROWSER FIGURE... looks at one page that is
there. Exit status 1 when something does not hold.
"""
import io
import os
import re
import subprocess
import sys

sys.path += [os.path.join(os.path.dirname(__file__), "..", "fuzz"), os.path.dirname(__file__)]
import make_corpus_report as corpus  # noqa: E402

failed = []


def check(holds, what):
    if not holds:
        failed.append(what)
        print("FAIL:", what)


# ---- colours -------------------------------------------------------------------------------------

def luminance(colour):
    """Relative luminance of #rgb or #rrggbb (WCAG 2.1)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    a, b = sorted((luminance(a), luminance(b)))
    return (b + 0.05) / (a + 0.05)


# Foreground, background, least contrast: 4.5 for text, 3 for marks that carry a meaning alone.
PAIRS = [(text, ground, 4.5) for text in ("ink", "soft", "accent", "plus", "loss")
         for ground in ("card", "bg")]
PAIRS += [(mark, "card", 3) for mark in ("blue", "sky", "green", "pink", "red", "grey")]
PAIRS += [("#10141a", block, 4.5) for block in ("green", "orange", "pink", "grey")]
PAIRS += [("on-blue", "blue", 4.5)]


def check_colours(page):
    style = page[page.index("<style>"):page.index("</style>")]
    themes = re.findall(r":root\{(.*?)\}", style)
    check(len(themes) == 3, "light, dark and print define their colours")
    for name, theme in zip(("light", "dark", "print"), themes):
        colours = dict(re.findall(r"--([\w-]+):(#\w+)", theme))
        for front, ground, least in PAIRS:
            value = contrast(colours.get(front, front), colours[ground])
            check(value >= least, f"{name}: contrast of {front} on {ground} is {value:.2f}, "
                                  f"not {least}")


# ---- stores and pages ----------------------------------------------------------------------------

VIT_B = ([("patch_embed", 64, "searched"), ("pos_embed", 64, "searched")]
         + [(f"encoder.{2 * i}-{2 * i + 1}", 10 ** 6, "searched") for i in range(6)]
         + [("neck", 41216, "searched")]
         + [(f"prompt.{i}", 128, "equal" if i == 1 else "unreached") for i in range(4)]
         + [(f"decoder.{i}", 40000, "searched") for i in range(6)])
VIT_H = ([(f"encoder.{i}", 10 ** 6, "searched") for i in range(32)] + VIT_B[8:])

STORES = {
    "one_trial": dict(tasks=1, trials=1, splits=(), pictures=0, workers=1),
    "twelve_tasks": dict(tasks=12, trials=200, groups=VIT_B, workers=4, pictures=3),
    "many_tasks": dict(tasks=64, trials=80, groups=VIT_H, workers=30),
    "many_trials": dict(tasks=2, trials=10000, workers=3),
}
FROM_CORPUS = ["valid_failed_trials_only", "valid_hostile_names", "valid_running", "valid_pauses",
               "valid_no_times", "valid_three_tasks"]
MOST_BYTES = 1000000


def write_page(program, store, page):
    subprocess.run([program, "report", "-q", store, "-o", page], check=True)
    with open(page, encoding="utf-8") as f:
        text = f.read()
    check(len(text) < MOST_BYTES, f"{page}: {len(text)} bytes")
    return text


# ---- in the browser --------------------------------------------------------------------------------

FIGURES = """[...document.querySelectorAll('svg[role=img]')].map(s => {
    const r = s.getBoundingClientRect();
    return [s.id, r.x, r.y + scrollY, r.width, r.height]; })"""


def ink(png):
    """Share of the pixels that differ from the most frequent colour; number of colours."""
    import numpy
    from PIL import Image
    pixels = numpy.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    colours, counts = numpy.unique(pixels, axis=0, return_counts=True)
    return 1 - counts.max() / len(pixels), len(colours), colours[counts.argmax()]


def look_at_figures(browser, page, scheme, wanted):
    figures = browser.value(FIGURES)
    names = [figure[0] for figure in figures]
    for name in wanted:
        check(name in names, f"{page}: figure {name} is not there")
    for name, x, y, width, height in figures:
        what = f"{page}, {scheme}: figure {name}"
        check(width >= 200 and height >= 60, f"{what} is {width:.0f} x {height:.0f}")
        if name not in wanted or width < 1 or height < 1:
            continue
        drawn, colours, ground = ink(browser.picture(x, y, width, height))
        check(drawn > 0.005 and colours > 12, f"{what} is blank: {drawn:.4f}, {colours} colours")
        check((ground.mean() > 128) == (scheme == "light"), f"{what} lies on {ground}")


def look_at(browser, page, scheme="light", wanted=(), width=1280):
    browser.open(page, width=width, scheme=scheme)
    where = f"{page}, {scheme}, {width} wide"
    wide = browser.value("document.documentElement.scrollWidth")
    check(wide <= width, f"{where}: the page is {wide} wide")
    look_at_figures(browser, page, scheme, wanted)
    missing = browser.value("[...document.querySelectorAll('nav a')].filter(a => "
                            "!document.querySelector(a.getAttribute('href'))).length")
    check(missing == 0, f"{where}: {missing} links lead nowhere")
    check(not browser.complaints, f"{where}: {browser.complaints}")
    others = [url for url in browser.requests if not url.startswith(("file:", "data:"))]
    check(not others and sum(u.startswith("file:") for u in browser.requests) == 1,
          f"{where}: asks for {others}")


def look_at_all(browser, pages):
    wanted = ["curve-0", "effort-0", "network-0", "interval-test-0", "front-0", "parallel-0",
              "groups-0", "timeline-0"]
    for scheme in ("light", "dark"):
        look_at(browser, pages["twelve_tasks"], scheme, wanted)
    images = browser.images()
    check(len(images) >= len(wanted) + 3, f"a screen reader finds {len(images)} images")
    check(all(name for name, _ in images), f"an image has no name: {images}")
    check(sum(bool(about) for _, about in images) >= len(wanted), f"not described: {images}")
    for name, page in pages.items():
        look_at(browser, page, "dark")
        look_at(browser, page, width=390)
    browser.open(pages["twelve_tasks"], media="print")
    check(browser.value("getComputedStyle(document.querySelector('nav')).display") == "none",
          "links are printed")
    check(browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)",
          "paper is not white")
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    pdf = browser.pdf()
    check(pdf.startswith(b"%PDF") and len(pdf) > 20000, f"printed {len(pdf)} bytes")


def in_browser(program, look, *what):
    import browser as chromium
    browser = chromium.Browser(program)
    try:
        look(browser, *what)
    finally:
        browser.close()


def look_at_one(browser, page, figures):
    for scheme in ("light", "dark"):
        look_at(browser, page, scheme, figures)
    look_at(browser, page, width=390)


def main():
    program, folder = sys.argv[1:3]
    if program == "page":
        in_browser(sys.argv[3], look_at_one, folder, sys.argv[4:])
        sys.exit(1 if failed else 0)
    pages = {}
    for name, how in STORES.items():
        corpus.write_store(os.path.join(folder, name + ".db"), **how)
    for name in [*STORES, *FROM_CORPUS]:
        pages[name] = os.path.join(folder, name + ".html")
        store = os.path.join(folder if name in STORES else corpus.FOLDER, name + ".db")
        text = write_page(program, store, pages[name])
    check_colours(text)
    if len(sys.argv) > 3:
        in_browser(sys.argv[3], look_at_all, pages)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
