"""The noisy neighbour's program: `python -m pytest_vswitch.measure.neighbour_load`.

It keeps one CPU and its memory bus busy, copying more than any cache holds, until its input
ends. It says `busy` once it has begun.
"""

from __future__ import annotations

import select
import sys

BYTES = 64 << 20


def main() -> None:
    source, target = bytes(BYTES), bytearray(BYTES)
    print("busy", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        target[:] = source


if __name__ == "__main__":
    main()
