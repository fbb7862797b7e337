"""Files that are others in each network namespace: those of its interfaces, in /sys and /proc."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.change import Change
from pytest_vswitch.hosts.host import Host

NAMESPACES = "/run/netns"
"""Where ip-netns(8) keeps them."""


def command(netns: str) -> list[str]:
    """What goes before a command that is to run there; nothing for the host's own."""
    return ["ip", "netns", "exec", netns] if netns else []


def read(host: Host, netns: str, path: str) -> str:
    """A file as the namespace sees it. Raises HostError if it is not there."""
    return host.ask([*command(netns), "cat", "--", path]).output


@contextlib.contextmanager
def rewriting(host: Host, netns: str, path: str, text: str) -> Iterator[None]:
    """`text` in a kernel's file as the namespace sees it; put back at the end.

    Raises HostError.
    """
    if not netns:
        with changes.rewriting(host, path, text):
            yield
        return
    before = read(host, netns, path)
    with host.changing(Change("rewrote_in", f"{netns}:{path}", before, text)):
        host.run([*command(netns), "tee", "--", path], stdin=text)
        yield
