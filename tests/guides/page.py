"""docs/guides.md, made of the tables here: `python -m tests.guides.page` writes it."""

from __future__ import annotations

from pathlib import Path

from tests.guides import plans
from tests.guides.steps import Step, steps

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/guides.md"

_CHAPTERS = {
    "1": "Live migration of a VM with an SR-IOV VF",
    "2": "Live migration of a VM with virtio",
    "3": "Flow bifurcation",
    "4": "PVP reference benchmark",
    "5": "VF daemon (VFd)",
    "6": "virtio-user for container networking",
    "7": "virtio-user as exceptional path",
    "M": "Intel DPDK vSwitch with MEMNIC",
    "K": "Intel DPDK vSwitch with KNI",
}

_HEAD = """\
# The guides, command by command

Made by `python -m tests.guides.page` of the tables in `tests/guides/`; a test holds it against
them, and looks up each test in `suites/`, each text in the module that says it, and each plan's
line in the [plans](plans/README.md) for the example labs.
The guides are DPDK's How To Guides, chapters 1 to 7, and two of Intel DPDK vSwitch (M, K).

*same*: said as the guide says it, with this lab's names. *otherwise*: done by other means, as the
note tells. *yours*: a matter of the lab's owner. *hole*: nobody does it yet.
"""


def render() -> str:
    parts = [_HEAD]
    if holes := [step for step in steps() if step.kind == "hole"]:
        parts.append(f"**{len(holes)} holes** of {len(steps())} rows:\n")
        parts.append("".join(f"- {step.section}: {_code(step.command)}\n" for step in holes))
    for number, title in _CHAPTERS.items():
        parts.append(f"## {number} {title}\n")
        parts.append("| section | command | | test | said by | the plan's line | note |")
        parts.append("|---|---|---|---|---|---|---|")
        parts += [_row(step) for step in steps() if step.section.startswith(f"{number}.")]
        parts.append("")
    return "\n".join(parts)


def _row(step: Step) -> str:
    made_of = f"{_code(step.words)} in `{step.source}`" if step.source else ""
    test = f"`{step.test}`" if step.test else ""
    file = plans.page(step)
    line = f"{_code(plans.words(step).strip())} in [{file}](plans/{file})" if file else ""
    cells = (step.section, _code(step.command), step.kind, test, made_of, line, step.note)
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    """Also of text with a backquote or a bar in it."""
    marks = "``" if "`" in text else "`"
    return f"{marks}{text}{marks}".replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render())
