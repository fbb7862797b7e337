"""Several labs in one session: `--dut lab1 --dut lab2`, each with a worker of xdist's.

Each worker runs every test on its lab, and keeps a run of its own; this, the controller's
part, hands out the labs and makes one report of their runs at the end.
"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vswitch import options
from pytest_vswitch.certifying import finish, is_complete, show_certificate
from pytest_vswitch.errors import InputError, VswitchError
from pytest_vswitch.lab import loader
from pytest_vswitch.report import html
from pytest_vswitch.results import run_directory
from pytest_vswitch.results.record import Record
from pytest_vswitch.results.run_directory import RunDirectory
from pytest_vswitch.results.store import keeping


class SeveralLabs:
    """The controller of one session with several labs."""

    def __init__(self, config: pytest.Config) -> None:
        """Raises InputError for a wrong option or lab file; nothing is started."""
        if not config.pluginmanager.has_plugin("xdist"):
            raise InputError("several labs at once need pytest-xdist: `pip install pytest-xdist`")
        self._names: list[str] = config.getoption("dut")
        self._labs = [
            loader.load(name, loader.search_path(config.rootpath)) for name in self._names
        ]
        names = [lab.name for lab in self._labs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"--dut names lab `{twice}` twice")
        self._config = config
        self._reports = options.reports(config)
        self._store = keeping.named(config.getoption("store"))
        self._id = run_directory.new_id()
        for lab in self._labs:
            options.baseline(config, self._reports, lab.name, "")  # told here, not by a worker
        self._handed_out = 0
        self._ended: list[tuple[Record, RunDirectory]] = []
        self._warnings = ""
        # xdist reads these when it is configured, after this.
        config.option.dist = "each"
        config.option.tx = ["popen"] * len(self._labs)

    def pytest_report_header(self) -> str:
        return f"vswitch: labs {', '.join(lab.name for lab in self._labs)}, run {self._id}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: tell a worker which lab is its own."""
        index = self._handed_out
        self._handed_out += 1
        node.workerinput["vswitch_lab"] = self._names[index]
        node.workerinput["vswitch_run"] = self._run(index)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Make each run's results, and one report of them all."""
        complete = is_complete(session, exitstatus)
        for index in range(len(self._labs)):
            directory = RunDirectory(self._reports / self._run(index))
            if not directory.journal.exists():
                continue
            try:
                record = finish(directory, complete=complete)
                html.write(directory.report, record)
                if warning := keeping.keep(self._store, record, directory):
                    self._warnings += f"{warning}\n"
            except VswitchError as error:
                self._warnings += f"no report of {directory.path}: {error}\n"
                continue
            self._ended.append((record, directory))
        if self._ended:
            self._write_report()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for record, directory in self._ended:
            show_certificate(terminalreporter, record, directory)
        if self._ended:
            terminalreporter.line(f"all labs  {self._reports / self._id / 'report.html'}")
        if self._warnings:
            terminalreporter.line(self._warnings.rstrip(), red=True)

    def _write_report(self) -> None:
        try:
            together = run_directory.create(self._reports, self._id)
            html.write(together.report, *(record for record, _ in self._ended))
        except VswitchError as error:
            self._warnings += f"no report of all labs: {error}\n"

    def _run(self, index: int) -> str:
        return f"{self._id}-{self._labs[index].name}"
