"""A progress line in pytest's terminal: rewritten on a terminal, plain lines elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest


class ProgressLine:
    """One line about a measurement, among pytest's own. Without a terminal it is silent."""

    def __init__(self, config: pytest.Config, *, shown: bool) -> None:
        """`shown` is False in a process that has no terminal, as an xdist worker."""
        self._config = config
        self._is_shown = shown
        self._width = 0

    @property
    def terminal(self) -> pytest.TerminalReporter | None:
        plugin = self._config.pluginmanager.get_plugin("terminalreporter")
        return plugin if self._is_shown else None

    def tell(self, text: str, *, ended: bool) -> None:
        """Where a trial stands. Off a terminal only one that `ended` has a line."""
        terminal = self.terminal
        if terminal is None:
            return
        if not terminal.isatty:
            if ended and terminal.verbosity >= 0:
                self.write(text)
            return
        with self._uncaptured():
            if not self._width:
                _begin_line(terminal)
            text = text[: terminal._tw.fullwidth - 1]
            _overwrite(terminal, f"\r{text:<{self._width}}")
            self._width = len(text)

    def wipe(self) -> None:
        """Take the progress line away, if there is one."""
        terminal = self.terminal
        if terminal is not None and self._width:
            with self._uncaptured():
                _overwrite(terminal, f"\r{'':<{self._width}}\r")
            self._width = 0

    def write(self, text: str) -> None:
        """A line that stays."""
        terminal = self.terminal
        if terminal is None:
            return
        self.wipe()
        with self._uncaptured():
            _begin_line(terminal)
            terminal.line(text)
            terminal.flush()

    def _uncaptured(self) -> AbstractContextManager[None]:
        """While pytest captures a test's output, this lets ours through."""
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else nullcontext()


def _begin_line(terminal: pytest.TerminalReporter) -> None:
    """End pytest's line, if it is in one; it will repeat what it needs of it."""
    if terminal._tw.width_of_current_line:
        terminal.line("")
    terminal.currentfspath = None


def _overwrite(terminal: pytest.TerminalReporter, text: str) -> None:
    """Write what will be overwritten: pytest shall not count it into the width of its line."""
    terminal._tw._file.write(text)
    terminal.flush()
