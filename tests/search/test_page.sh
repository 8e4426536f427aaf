#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The report in a headless Chromium: nothing on the console, nothing fetched, no figure blank in light
# or dark, nothing wider than the window, names for screen readers, small pages of large stores.
# Needs chromium, python3-pil and python3-numpy (make deps-oracles); without them only colours and
# sizes are checked.
set -u
B=${B:-build}
python=${PYTHON:-/usr/bin/python3}
[ -x "$B/medsamix" ] || { echo "$B/medsamix is not built"; exit 77; }
"$python" -c '' 2>/dev/null || { echo "no python3"; exit 77; }
folder=$(mktemp -d /tmp/medsamix-test-XXXXXX)
trap 'rm -rf "$folder"' EXIT
browser=$(command -v chromium)
"$python" -c 'import PIL, numpy' 2>/dev/null || browser=
"$python" tests/search/check_page.py "$B/medsamix" "$folder" ${browser:+"$browser"} || exit 1
[ -n "$browser" ] || { echo "no chromium or no python3-pil (make deps-oracles)"; exit 77; }
