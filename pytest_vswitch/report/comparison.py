"""A comparison as one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from datetime import datetime, timezone

from pytest_vswitch import __version__
from pytest_vswitch.report import comparison_chart, html
from pytest_vswitch.report.comparison_text import SAME_EVERYWHERE
from pytest_vswitch.results.compare import wording
from pytest_vswitch.results.compare.comparison import Comparison
from pytest_vswitch.results.statistics.pair import Verdict

SIGNS: dict[Verdict, str] = {"worse": "✗", "better": "✓", "same": "=", "can't tell": "?"}
CLASSES: dict[Verdict, str] = {
    "worse": "failed",
    "better": "passed",
    "same": "measured",
    "can't tell": "incomplete",
}
"""How the style sheet calls verdicts of the same colour."""


def render(comparison: Comparison) -> str:
    """The whole page."""
    template = html.environment().get_template("comparison.html.j2")
    return template.render(
        comparison=comparison,
        worst=next(iter(comparison.tally)),
        signs=SIGNS,
        classes=CLASSES,
        wording=wording,
        same_everywhere=SAME_EVERYWHERE,
        chart=comparison_chart.values,
        version=__version__,
        now=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
    )
