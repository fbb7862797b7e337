"""How pytest-xdist shares out the tests of a session with `--dut`."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling


class OneWorker(LoadScopeScheduling):
    """All tests go to one worker: there is one DUT, and what runs beside a trial disturbs it."""

    def _split_scope(self, nodeid: str) -> str:
        del nodeid
        return "dut"
