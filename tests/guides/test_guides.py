"""The table of the guides' commands: complete, true, and as docs/guides.md has it."""

from __future__ import annotations

import ast
import functools

import pytest

from tests.guides import plans
from tests.guides.page import PAGE, ROOT, render
from tests.guides.steps import Step, steps

HOLES: set[str] = set()
"""Reasons for holes that are known; when it is empty, none is let pass."""


@functools.cache
def names_in(path: str) -> set[str]:
    """Names of the tests in a file below `suites/`."""
    tree = ast.parse((ROOT / "suites" / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), "python -m tests.guides.page writes it"


@pytest.mark.parametrize("step", steps(), ids=lambda one: f"{one.section} {one.command[:40]}")
def test_each_command_is_carried_out(step: Step) -> None:
    if step.kind == "hole":
        assert step.note in HOLES
        return
    if step.kind == "yours":
        assert step.note
        return
    assert step.kind == "same" or step.note
    assert step.test or step.kind == "otherwise"
    if step.test:
        path, _, name = step.test.partition("::")
        assert name in names_in(path)
    if step.source:
        files = (ROOT / "pytest_vswitch").glob(step.source)
        said = any(step.words in file.read_text() for file in files)
        assert said, f"{step.source} does not say {step.words!r}"
    else:
        assert step.kind == "otherwise"


@pytest.mark.parametrize("step", steps(), ids=lambda one: f"{one.section} {one.command[:40]}")
def test_each_command_is_in_a_plan(step: Step) -> None:
    """Of those that a suite carries out; where none has it, plan_lines.yaml says so."""
    if step.kind in ("same", "otherwise"):
        told = f"no plan of its suite has {plans.words(step)!r}"
        assert plans.page(step) or not plans.words(step), told


def test_what_plans_say_otherwise_is_of_a_row_each() -> None:
    for said in plans.said_otherwise():
        rows = [row for row in steps() if plans.is_of(said, row)]
        assert len(rows) == 1, said


def test_no_chapter_is_left_out() -> None:
    assert {step.section[0] for step in steps()} == set("1234567MK")
    assert len({(step.section, step.command) for step in steps()}) == len(steps())
