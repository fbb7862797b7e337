"""Samples made of the rows that a selection finds."""

from __future__ import annotations

from json import loads
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.batch import COLUMNS, Row
from pytest_vswitch.results.store.history import Selection
from pytest_vswitch.results.store.tables import (
    CASE,
    ENVIRONMENT,
    HOP,
    METRIC,
    RUN,
    RUN_ENVIRONMENT,
    SAMPLE,
    VERSIONS,
)


class Known:
    """What the samples of a selection refer to; there is far less of it than of them."""

    def __init__(self, connection: Connection, selection: Selection) -> None:
        self._selection = selection
        self._bytewise = "BINARY" if connection.dialect.name == "sqlite" else "C"
        self._cases = {
            one.id: one
            for one in connection.execute(select(CASE))
            if not selection.cases or one.name in selection.cases
        }
        self._metrics = {
            one.id: one
            for one in connection.execute(select(METRIC))
            if not selection.metrics or one.name in selection.metrics
        }
        self._hops = {one.id: one.name for one in connection.execute(select(HOP))}
        self._versions = {
            one.id: loads(one.versions) for one in connection.execute(select(VERSIONS))
        }
        used = select(RUN_ENVIRONMENT.c.environment_id).join(RUN).where(*self._runs())
        self._environments = {
            one.id: Environment(one.machine, one.software, one.setup)
            for one in connection.execute(select(ENVIRONMENT).where(ENVIRONMENT.c.id.in_(used)))
        }

    def _runs(self) -> list[ColumnElement[bool]]:
        """Conditions."""
        wanted = self._selection
        found: list[ColumnElement[bool]] = []
        if wanted.labs:
            found.append(RUN.c.lab.in_(wanted.labs))
        if wanted.runs:
            found.append(RUN.c.run.in_(wanted.runs))
        if wanted.since_s is not None:
            found.append(RUN.c.at_s >= wanted.since_s)
        if wanted.until_s is not None:
            found.append(RUN.c.at_s < wanted.until_s)
        return found

    def query(self) -> Select[Any]:
        conditions: list[ColumnElement[bool]] = []
        if runs := self._runs():
            # As conditions of the join, SQLite would look at every sample of all runs.
            conditions.append(SAMPLE.c.run_id.in_(select(RUN.c.id).where(*runs)))
        if self._selection.cases:
            conditions.append(SAMPLE.c.case_id.in_(list(self._cases)))
        if self._selection.metrics:
            conditions.append(SAMPLE.c.metric_id.in_(list(self._metrics)))
        if self._selection.simulated is not None:
            conditions.append(SAMPLE.c.simulated.is_(self._selection.simulated))
        # A server sorts text as its country does; Python and the other stores, by its bytes.
        run, lab, metric = (
            column.collate(self._bytewise) for column in (RUN.c.run, RUN.c.lab, METRIC.c.name)
        )
        return (
            select(RUN.c.run, RUN.c.lab, RUN.c.at_s, *(SAMPLE.c[name] for name in COLUMNS))
            .select_from(SAMPLE.join(RUN).join(METRIC))
            .where(*conditions)
            .order_by(RUN.c.at_s, run, lab, SAMPLE.c.place, metric)
        )

    def sample(self, row: Row) -> Sample:
        (
            run, lab, at_s, order, metric_id, case_id, environment_id, versions_id, hop_id,
            value, low, high, censored, simulated,
        ) = row  # fmt: skip
        case, metric = self._cases[case_id], self._metrics[metric_id]
        return Sample(
            run=run,
            lab=lab,
            at_s=at_s,
            order=order,
            suite=case.suite,
            case=case.name,
            metric=metric.name,
            unit=metric.unit,
            better=metric.better,
            value=value,
            low=low,
            high=high,
            censored=censored,
            lossy_hop=self._hops[hop_id],
            versions=self._versions[versions_id],
            environment=self._environments[environment_id],
            simulated=simulated,
        )
