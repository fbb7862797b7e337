"""What every command of `vswitch` is built from."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TextIO

Commands = argparse._SubParsersAction  # argparse has no public name for it


def command(
    commands: Commands[argparse.ArgumentParser], name: str, short: str, long: str, example: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=short,
        description=long,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_run(parser: argparse.ArgumentParser, option: str = "") -> None:
    text = "a run: its id, its directory, or `latest`"
    if option:
        parser.add_argument(option, dest="run", metavar="RUN", required=True, help=text)
    else:
        parser.add_argument("run", metavar="RUN", help=text)
    parser.add_argument(
        "--reports",
        metavar="DIR",
        type=Path,
        default=Path("reports"),
        help="where runs are kept (default: reports)",
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which of the numbers that are kept, and what of them is a change."""
    parser.add_argument(
        "--case", metavar="GLOB", default="*", help="cases that match, e.g. 'pvp:*frame_bytes=64*'"
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        action="append",
        default=[],
        help="this metric only, e.g. NDR; repeatable",
    )
    parser.add_argument("--lab", metavar="LAB", help="runs of this lab only")
    parser.add_argument(
        "--minimum-effect",
        metavar="PERCENT",
        default="2%",
        help="a smaller change is none (default: 2%%)",
    )


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="URL",
        help="where results are kept: sqlite:///FILE, postgresql://USER@HOST/DATABASE or "
        "parquet:DIR (default: PYTEST_VSWITCH_STORE, or store.sqlite in the reports directory)",
    )
    parser.add_argument(
        "--reports",
        metavar="DIR",
        type=Path,
        default=Path("reports"),
        help="where runs are kept (default: reports)",
    )


def painted(text: str, colour: str, stream: TextIO) -> str:
    """`text` in an ANSI colour, on a terminal whose user does not object."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain or not colour else f"\033[{colour}m{text}\033[0m"
