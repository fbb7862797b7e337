"""The suites that come with this package."""

from __future__ import annotations

from pathlib import Path


def suites() -> Path:
    """`suites/` of the wheel or, in an editable install, of the checkout."""
    package = Path(__file__).parent
    inside = package / "suites"
    return inside if inside.is_dir() else package.parent / "suites"
