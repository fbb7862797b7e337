"""Frames out of a pcap or pcapng file, to be replayed."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from pytest_vswitch.errors import InputError
from pytest_vswitch.traffic.frames import FCS_BYTES, MIN_FRAME_BYTES
from pytest_vswitch.traffic.profile import Replayed

MOST = 4096
MOST_BYTES = 1 << 20
_ETHERNET = 1
_DIGITS = 8


def read(path: Path, longest: int) -> Replayed:
    """The frames of the file in their order, their times left aside; short ones padded to 60 bytes.

    `longest` is a frame's most bytes with FCS, which the file's frames lack. Raises
    InputError for a file that cannot be read, that holds frames cut short by their capture
    or longer ones, or more than `MOST` or `MOST_BYTES`.
    """
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapReader

    frames: list[bytes] = []
    try:
        with RawPcapReader(str(path)) as reader:
            for number, (data, about) in enumerate(reader, 1):
                kind = getattr(about, "linktype", None) or getattr(reader, "linktype", _ETHERNET)
                if kind != _ETHERNET:
                    raise InputError(f"{path}: its link type is {kind}, not Ethernet (1)")
                if about.wirelen is not None and about.wirelen > len(data):
                    raise InputError(
                        f"{path}: frame {number} was captured with {len(data)} of its "
                        f"{about.wirelen} bytes only (tcpdump -s 0 keeps whole frames)"
                    )
                if len(data) + FCS_BYTES > longest:
                    raise InputError(
                        f"{path}: frame {number} has {len(data) + FCS_BYTES} bytes with FCS; the "
                        f"vSwitch, the first hop, carries {longest} (`dut.mtu` in the lab)"
                    )
                frames.append(data.ljust(MIN_FRAME_BYTES - FCS_BYTES, b"\0"))
                if len(frames) > MOST or sum(map(len, frames)) > MOST_BYTES:
                    raise InputError(
                        f"{path}: more than {MOST:,} frames or {MOST_BYTES >> 20} MiB; cut it, "
                        "e.g. with editcap -r or tcpdump -c"
                    )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (Scapy_Exception, EOFError) as error:
        raise InputError(f"{path}: no pcap file: {error}") from None
    if not frames:
        raise InputError(f"{path}: holds no frame")
    digest = sha256(b"".join(frames)).hexdigest()[:_DIGITS]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.stem)
    return Replayed(f"{name}-{digest}", tuple(frames))
