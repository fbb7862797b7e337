"""One change to a host as data, so that another process, after a `kill -9`, can undo it.

Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One change to a host and, by its kind, the way back."""

    kind: str
    """`made` a file or directory: remove it. `rewrote` a file: put `before` back;
    `rewrote_in`: one as a network namespace sees it, its path `NETNS:/PATH`. `bound`
    a PCI device to a driver: bind it to the driver `before` ("": none). `functions`: gave
    a PCI device virtual functions: give it as many as `before`. `linked`: made a network
    interface: delete it. `namespace`: made a network namespace: delete it, with the interfaces
    in it. `filtered`: put a filter into a network card, its path `NETNS INTERFACE LOCATION`:
    delete it; `feature`: switched one of `NETNS INTERFACE NAME`: set it `before`, on or off; an
    empty NETNS is the host's own. `mounted`: unmount what is there beyond `before` mounts.
    `containers`: keeps podman's or docker's in a directory: kill them, remove it and their
    cgroup. `delegated`: had groups limited by a controller: switch that off again.
    `directory`: made an empty one, to mount on: remove it if it is still empty. `domain`:
    defined one at libvirt: destroy and undefine it."""
    path: str
    """A path; the address of a PCI device (BDF); the name of an interface, namespace or domain."""
    before: str = ""
    after: str | None = None
    """What this change makes of it. If something else is found there when it is to be
    undone, someone else has been at it, and it is left. None: not known. Of an interface:
    its index; of a mount: type and source, with a space between; of containers: the name of
    the control group that they are in; of a delegation: the controller; of a domain: the URI
    of its libvirt."""

    def __str__(self) -> str:
        was = f", was {brief(self.before)}" if self.before else ""
        return f"{shown(self.path)} ({self.kind}{was})"


class ChangedByOthers(Exception):
    """What is there now is neither what was found nor what the run made of it: it is left."""

    def __init__(self, what: str, was: str, made: str, now: str) -> None:
        was, made, now = brief(was), brief(made), brief(now)
        super().__init__(
            f"{shown(what)} was {was}, we made it {made}, now it is {now}: left as it is"
        )


def to_text(data: bytes) -> str:
    """Any bytes as text that JSON can carry."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """What `to_text` was given."""
    return text.encode("utf-8", "surrogateescape")


def shown(text: str) -> str:
    """A name for people: on one line and printable everywhere."""
    if text.isprintable():
        return text
    return to_bytes(text).decode("utf-8", "backslashreplace").encode("unicode_escape").decode()


def brief(text: str) -> str:
    """A value for people: itself, or how much it is."""
    line = shown(text.strip("\n\0"))
    return (line or "empty") if len(line) <= 80 else f"{len(to_bytes(text))} bytes"
