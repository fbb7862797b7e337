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
