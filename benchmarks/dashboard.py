"""How long the dashboard takes to make, to open in a headless browser, and to scroll.

    python -m benchmarks.dashboard [--cases 300] [--nights 365] [--json] [--keep FILE]

The cases are seeded (`trend_cases`): one value a night, 20 changes. Chromium is started anew
for each of five tries with an empty profile, before the clock starts; medians are told:

    compute   Python: from the samples to the page's text
    open      from the order to navigate until every row is there and the first screen painted
    scroll    the longest wait for a frame while scrolling through the whole list

`+` marks a figure that keeps what is promised (open: 2 s), `!` one that does not: then the exit
status is 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import trend_cases
from benchmarks.browser import TIMEOUT_S, browser
from pytest_vswitch.report import dashboard
from pytest_vswitch.results.trend.series import series
from pytest_vswitch.results.trend.trends import events, trend

OPEN_S = 2.0
TRIES = 5

SCROLL = """
new Promise((done) => {
  const total = document.documentElement.scrollHeight;
  let at = 0, before = performance.now(), longest = 0;
  const step = (now) => {
    longest = Math.max(longest, now - before);
    before = now;
    at += 400;
    scrollTo(0, at);
    at < total ? requestAnimationFrame(step) : done(longest / 1000);
  };
  requestAnimationFrame((now) => { before = now; step(now); });
})
"""
PAINTED = """
new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(
  document.documentElement?.dataset.ready ? document.querySelectorAll("#list li").length : -1
))))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the page")
    arguments = parser.parse_args()
    made = trend_cases.year(trend_cases.normal, 1, arguments.cases, arguments.nights)
    samples = list(trend_cases.samples(made))
    began = time.perf_counter()
    trends = [trend(one) for one in series(samples)]
    page = dashboard.render(trends, events(trends))
    compute_s = time.perf_counter() - began
    if arguments.keep:
        arguments.keep.write_text(page, "utf-8")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "index.html")
        path.write_text(page, "utf-8")
        tries = [_open(path, arguments.cases) for _ in range(TRIES)]
    opened_s, scroll_s = (statistics.median(times) for times in zip(*tries, strict=True))
    good = opened_s < OPEN_S
    figures = {
        "page MB": len(page.encode()) / 1e6,
        "compute s": compute_s,
        "open s": opened_s,
        "scroll s": scroll_s,
    }
    for name, figure in figures.items():
        mark = ("+" if good else "!") if name == "open s" else ""
        print(f"{name:10} {figure:8.3f} {mark}")
    if arguments.json:
        print(json.dumps({"cases": arguments.cases, "nights": arguments.nights, **figures}))
    return 0 if good else 1


def _open(path: Path, rows: int) -> tuple[float, float]:
    """How long it takes to open, and the longest frame of scrolling [s]."""
    with browser("--window-size=1280,900") as page:
        began = time.perf_counter()
        page.call("Page.navigate", url=path.as_uri())
        while (shown := page.evaluate(PAINTED)) != rows:
            if time.perf_counter() - began > TIMEOUT_S:
                raise SystemExit(f"the page shows {shown} of {rows} rows")
        return time.perf_counter() - began, float(page.evaluate(SCROLL))


if __name__ == "__main__":
    sys.exit(main())
