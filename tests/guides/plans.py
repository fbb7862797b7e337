"""Where the plans of docs/plans/ carry out the rows of the guides."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from tests.guides.steps import Step
from tests.plans.page import PAGES, PLANS, ROOT


@dataclass(frozen=True, slots=True)
class Said:
    """A row whose plan says it otherwise than its module."""

    section: str
    command: str
    """How the row's begins."""
    line: str = ""
    """What the plan's line has; empty: it has none."""


@functools.cache
def said_otherwise() -> tuple[Said, ...]:
    file = Path(__file__).with_name("plan_lines.yaml")
    return tuple(Said(**row) for row in YAML(typ="safe").load(file))


def is_of(said: Said, step: Step) -> bool:
    return said.section == step.section and step.command.startswith(said.command)


def words(step: Step) -> str:
    """What the plan's line of a row has; empty: there is none."""
    for said in said_otherwise():
        if is_of(said, step):
            return said.line
    # As a command's words, where the module has them one by one.
    return step.words.replace('", "', " ").strip('"')


def page(step: Step) -> str:
    """The page that says it, below docs/plans/; empty: none does."""
    wanted, suite = words(step), step.test.partition("/")[0]
    if not wanted or step.kind in ("hole", "yours"):
        return ""
    chapter = step.section[0]
    for plan in sorted(PLANS, key=lambda plan: not plan.guide.startswith(chapter)):
        if suite in ("", plan.suite) and (plan.ports or "ovdk") in ("ovdk", _of_ovdk(step)):
            for name in reversed(plan.labs):
                file = f"{name}/{plan.file}.sh"
                if wanted in _text(file):
                    return file
    return ""


def _of_ovdk(step: Step) -> str:
    """Which of the two guides of OVDK the row is of."""
    return {"M": "memnic", "K": "kni"}.get(step.section[0], "")


@functools.cache
def _text(file: str) -> str:
    """From the first step on, each command on a line."""
    text = (ROOT / PAGES / file).read_text()
    return re.sub(r" \\\n\s*(#\s+)?", " ", text[text.index("\nup() {") :])
