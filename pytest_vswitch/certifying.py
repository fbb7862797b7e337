"""The pytest hooks that are active with `--dut`: header, progress, faults, summary."""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from pytest_vswitch import __version__, fixtures, options, registry
from pytest_vswitch.errors import DutError, InputError, ReservationLost, VswitchError
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.choices import chosen
from pytest_vswitch.measure import hint
from pytest_vswitch.measure.functional import FunctionalError
from pytest_vswitch.measure.runner import Progress
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.plugin import refuse
from pytest_vswitch.report import html, progress, summary
from pytest_vswitch.results import captures, contention, history, record, run_directory
from pytest_vswitch.results.certification import Certification, Rounds, Wired
from pytest_vswitch.results.findings import finding, outcomes
from pytest_vswitch.results.journal import Journal, RunEnded
from pytest_vswitch.results.run import Run, preflight
from pytest_vswitch.results.run_directory import RunDirectory
from pytest_vswitch.results.store import keeping
from pytest_vswitch.results.store.address import without_password
from pytest_vswitch.terminal import ProgressLine

_CALL = pytest.StashKey[pytest.CallInfo[None]]()
_CASES = pytest.StashKey[list[Certification]]()


class Certifying:
    """One pytest session with `--dut`."""

    def __init__(self, config: pytest.Config) -> None:
        """Raises InputError for a wrong option or lab file; nothing is started."""
        self._config = config
        self._wait_s = options.wait_s(config)
        # Under xdist, the controller names the run and one worker makes it.
        worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        dut = worker["vswitch_lab"] if worker else config.getoption("dut")[0]
        self.lab = chosen(
            loader.load(dut, loader.search_path(config.rootpath)),
            vswitch=config.getoption("vswitch"),
            hypervisor=config.getoption("hypervisor"),
            nic=config.getoption("nic"),
        )
        self.profile = options.profile(config, self.lab)
        self.frame_sizes = options.frame_sizes(config, self.lab, self.profile)
        self._plan = options.plan(config, self.profile)
        self.rounds = options.versions(config, self.lab)
        self._combinations = {
            tuple(one.versions.items()): one.applied(self.lab) for one in self.rounds
        }
        if self._compares:
            self._plan = replace(self._plan, repeats=1)
        else:
            self.lab = self.rounds[0].applied(self.lab)
        self._earlier: dict[str, Rounds] = {}
        """By case id, what the rounds so far have measured."""
        self._is_worker = worker is not None
        self._run_id: str = worker["vswitch_run"] if worker else run_directory.new_id()
        self._reports = options.reports(config)
        self._store = keeping.named(config.getoption("store"))
        self._history = options.history(config, self._reports)
        self._neighbours: list[hint.Neighbour] = []
        self._baseline = options.baseline(config, self._reports, self.lab.name, self._run_id)
        self._resumed = options.resumed(config, self._reports)
        self._progress = ProgressLine(config, shown=not self._is_worker)
        self._ended: record.Record | None = None
        self._topologies = registry.Registered(registry.TOPOLOGIES).names()
        self.topology = options.topology(config, self._topologies)
        plugin = fixtures.plugin(self, self._topologies)
        config.pluginmanager.register(plugin, "vswitch-fixtures")
        # A termination is a Ctrl-C: fixtures end, the host is put in order.
        self._before = signal.signal(signal.SIGTERM, _terminated)

    @property
    def _compares(self) -> bool:
        """Whether there is more than one combination of versions."""
        return len(self._combinations) > 1

    # --- collection ---

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each case in each round, version by version in turn."""
        if "vswitch_round" in metafunc.fixturenames and self.rounds[0].versions:
            ids = [one.id for one in self.rounds]
            metafunc.parametrize("vswitch_round", self.rounds, ids=ids, indirect=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: tell a worker which run it works for."""
        node.workerinput["vswitch_run"] = self._run_id
        node.workerinput["vswitch_lab"] = self._config.getoption("dut")[0]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> object:
        """xdist: all tests go to one worker. There is one DUT, and what runs beside disturbs."""
        from xdist.scheduler import LoadScopeScheduling

        scheduling = LoadScopeScheduling(config, log)
        scheduling._split_scope = lambda nodeid: "dut"
        return scheduling

    def pytest_report_header(self) -> str:
        where = self.lab.path or self.lab.name
        search = self._plan.search
        return (
            f"vswitch: lab {where}, {search.search}, trials of {search.trial_duration_s:g} s, "
            f"precision {100 * search.precision:g} %, run {self._run_id}"
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        used: set[str] = set()
        for item in items:
            wanted = set(getattr(item, "fixturenames", ()))
            if "vswitch_run" in wanted:
                used |= wanted & set(self._topologies)
                if self._compares and "vswitch_round" not in wanted:
                    refuse(
                        self._config,
                        f"{item.nodeid} wires its own topology and is for one version in a run: "
                        "give --dpdk, --guest-dpdk and --qemu once each, or take it out",
                    )
                    return
        if used and not self._config.getoption("collectonly"):
            not_here: dict[str, str] = {}
            for lab in self._combinations.values():
                try:
                    not_here |= preflight(lab, sorted(used), waits=self._wait_s > 0)
                except VswitchError as error:
                    if self._compares and isinstance(error, DutError):
                        continue  # a version that does not start is an error of its own tests
                    refuse(self._config, str(error))
                    return
            for item in items:
                for name in not_here.keys() & set(getattr(item, "fixturenames", ())):
                    item.add_marker(pytest.mark.skip(reason=not_here[name]))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self._baseline:
            tests = sum("measure" in getattr(item, "fixturenames", ()) for item in session.items)
            self._baseline.cases_to_come = tests

    # --- the run and its cases ---

    def earlier_trials(self, what: str) -> dict[str, tuple[Trial, ...]]:
        """By case id: what the run of `--resume` has of the measurement of that name."""
        if self._resumed is None:
            return {}
        if self._resumed.lab.get("name") != self.lab.name:
            raise InputError(
                f"--resume: that run was made in the lab {self._resumed.lab.get('name')}, "
                f"and this is {self.lab.name}"
            )
        return {
            case.id: measurement.trials
            for case in self._resumed.cases
            for measurement in case.measurements
            if measurement.search == what
        }

    def open_run(self) -> Run:
        facts = record.Run(
            id=self._run_id,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=("pytest", *map(without_password, self._config.invocation_params.args)),
            tool_version=__version__,
            simulated=self.lab.dut.host == "sim",
        )
        try:
            run = Run(
                self.lab,
                facts,
                self._reports,
                wait_s=self._wait_s,
                tune=self._config.getoption("tune"),
                tell=self._progress.write,
            )
        except VswitchError as error:  # e.g. another run has begun since the preflight
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        return run

    def begin_case(self, run: Run, wired: Wired, parameters: dict[str, Any]) -> Certification:
        limits = {
            case: limit.model_dump(exclude_none=True) for case, limit in self.lab.thresholds.items()
        }

        def tell(now: Progress) -> None:
            self._progress.tell(progress.line(case.case.id, now), ended=now.loss_ratio is not None)

        case = Certification(
            wired,
            run.journal,
            run.host_facts,
            self._plan,
            parameters=parameters,
            limits=limits,
            progress=tell,
            may_go_on=run.check_reserved,
            contention=None if run.facts.simulated else lambda: contention.read(run.host),
            known=self._known,
            earlier=self._earlier,
            baseline=lambda case: self._held(run, case),
        )
        return case

    def _held(self, run: Run, case: record.Case) -> tuple[record.BaselineCheck, ...]:
        """A case that has just been measured, against the baseline."""
        if self._baseline is None:
            return ()
        lab = {"name": self.lab.name}
        facts = (record.SCHEMA_VERSION, run.facts, lab, run.host_facts)
        return self._baseline.hold(record.Record(*facts, (case,), finished=False))

    def _known(self, case: record.Case) -> hint.Hint | None:
        """Where this case was last time, or what its neighbours in this run showed."""
        if self._history is None or self._compares:
            return None
        return history.of_case(
            self._history, case.id, self.lab.name, but=self._run_id
        ) or hint.of_neighbours(case.suite, case.parameters, self._neighbours)

    def end_cases(self, run: Run, node: pytest.Item, cases: Sequence[Certification]) -> None:
        """Give each case its verdict from what became of the test."""
        node.stash[_CASES] = list(cases)
        self._progress.wipe()
        call = node.stash.get(_CALL, None)
        if call is None:
            return  # interrupted: the cases stay incomplete
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, VswitchError):
            # The next test shall not inherit what went wrong.
            run.unwire()
        if isinstance(error, ReservationLost):
            node.session.shouldstop = str(error)
        for case in cases:
            if self._compares:
                self._earlier[case.case.id] = case.rounds
            self._neighbours += [
                hint.Neighbour(case.case.id, case.case.suite, case.case.parameters, one.results)
                for one in case.case.measurements
                if one.results
            ]
            if error is None:
                case.end()
            else:
                case.fail(str(error))
            for goal in case.case.goals:
                found = finding(case.case.measurements, goal.name)
                if found and found.value_pps is not None:
                    name = f"{case.case.id} {goal.name.lower()}_pps"
                    node.user_properties.append((name, round(found.value_pps)))
            for measurement in outcomes(case.case):
                assert measurement.outcome is not None
                for figure in measurement.outcome.figures:
                    name = " ".join(filter(None, (case.case.id, figure.name, figure.unit)))
                    node.user_properties.append((name, figure.value))

    # --- reports of tests ---

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "call":
            item.stash[_CALL] = call
            if call.excinfo and isinstance(call.excinfo.value, FunctionalError):
                captures.keep_those_of(call.excinfo.value, self._reports / self._run_id, item.name)
        if call.excinfo and isinstance(call.excinfo.value, VswitchError):
            # A fault of lab, host or wiring is told in its own words, without a traceback.
            report.longrepr = str(call.excinfo.value)
            report.__dict__["vswitch_fault"] = True
        if call.when == "teardown" and self._config.getoption("htmlpath", None):
            from pytest_html import extras

            report.__dict__["extras"] = [
                *getattr(report, "extras", []),
                *(extras.html(html.fragment(case.case)) for case in item.stash.get(_CASES, [])),
            ]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self) -> None:
        """Progress ends before the terminal writes what became of the test."""
        self._progress.wipe()

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """A fault is an error, not a failure, also in the middle of a test."""
        if report.failed and getattr(report, "vswitch_fault", False):
            return "error", "E", "ERROR"
        return None

    # --- the end ---

    def pytest_unconfigure(self) -> None:
        signal.signal(signal.SIGTERM, self._before)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Make results and report from the journal, once all fixtures have ended."""
        directory = run_directory.RunDirectory(self._reports / self._run_id)
        if self._is_worker or not directory.journal.exists():
            return
        try:
            self._ended = finish(directory, complete=is_complete(session, exitstatus))
            html.write(directory.report, self._ended)
            if warning := keeping.keep(self._store, self._ended, directory):
                self._progress.write(warning)
        except VswitchError as error:
            self._progress.write(f"no report: {error}")
        if self._progress.terminal and exitstatus > pytest.ExitCode.NO_TESTS_COLLECTED:
            # After a status that is not one of its own, pytest shows no summary.
            self.pytest_terminal_summary(self._progress.terminal)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._ended is None:
            return
        directory = run_directory.RunDirectory(self._reports / self._run_id)
        show_certificate(terminalreporter, self._ended, directory)


def is_complete(session: pytest.Session, exitstatus: int) -> bool:
    """Whether every test of the session came to its end."""
    ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    return ended and not (session.shouldstop or session.shouldfail)


def finish(directory: RunDirectory, *, complete: bool) -> record.Record:
    """Make a run's results from its journal, once all fixtures have ended.

    Raises InputError, HostError.
    """
    if complete:
        with Journal(directory.journal) as journal:
            journal.append(RunEnded())
    ended = directory.read()
    directory.write(ended)
    return ended


def show_certificate(
    terminal: pytest.TerminalReporter, ended: record.Record, directory: RunDirectory
) -> None:
    terminal.section("certificate")
    colours = {"PASSED": "green", "FAILED": "red", "ERROR": "red", "INCOMPLETE": "yellow"}
    for text in summary.render(ended, directory).splitlines():
        colour = colours.get(text.split(" ")[0])
        terminal.line(text, **({colour: True, "bold": True} if colour else {}))


def _terminated(number: int, frame: object) -> None:
    raise pytest.exit.Exception("terminated", returncode=128 + number)
