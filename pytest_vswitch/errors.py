"""Faults of the lab, the host or the wiring, told to the person at the keyboard.

None of these is shown with a traceback: each message says what was wrong, where,
and what would be right. A missed threshold is not among them: that is a test failure.
"""

from __future__ import annotations


class VswitchError(Exception):
    """Base of every fault that is not a bug in this package."""


class InputError(VswitchError):
    """A file, option or argument is wrong; nothing was started (exit status 4)."""


class NotHere(InputError):
    """A host has no such thing, e.g. its kernel: what wants it is left out, with this reason."""


class HostError(VswitchError):
    """A host refused, lacks or failed something: a program, memory, a permission."""


class ReservationLost(HostError):
    """Someone took the host from this run: it must not go on there."""


class DutError(VswitchError):
    """A program of the topology died, froze or stopped answering."""


class DeadlineError(DutError):
    """A fact that was waited for did not come in time; its program still runs."""


class BooksError(VswitchError):
    """The counters of a trial do not reconcile: it is an error, not a result."""
