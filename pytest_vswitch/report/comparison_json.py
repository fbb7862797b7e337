"""A comparison as JSON, for other programs; docs/compare.md tells its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from pytest_vswitch.results.compare import wording
from pytest_vswitch.results.compare.comparison import Comparison, Row
from pytest_vswitch.results.compare.sides import Side
from pytest_vswitch.results.sample import Sample

FORMAT = "pytest-vswitch comparison"
VERSION = 1
"""Grows when a field goes or changes its meaning; new fields may come at any time."""


def render(comparison: Comparison) -> str:
    """One JSON object; changes and bounds are ratios, values are in the row's unit."""
    whole: Mapping[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "before": _side(comparison.before),
        "after": _side(comparison.after),
        "simulated": comparison.simulated,
        "options": asdict(comparison.options),
        "differences": [asdict(one) for one in comparison.differences],
        "not_comparable": list(comparison.despite),
        "doubts": list(comparison.doubts),
        "tally": comparison.tally,
        "group_by": comparison.group_by,
        "groups": [
            {
                "name": group.name,
                "tally": group.tally,
                "rows": [_row(row) for row in group.rows],
            }
            for group in comparison.groups
        ],
        "only_before": list(comparison.only_before),
        "only_after": list(comparison.only_after),
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _side(side: Side) -> Mapping[str, Any]:
    return {
        "name": side.name,
        "runs": list(side.runs),
        "labs": list(dict.fromkeys(sample.lab for sample in side.samples)),
    }


def _row(row: Row) -> Mapping[str, Any]:
    judgement = row.judgement
    return {
        "suite": row.suite,
        "case": row.case,
        "metric": row.metric,
        "unit": row.unit,
        "better": row.better,
        "verdict": judgement.verdict,
        "change": judgement.change,
        "low": judgement.low,
        "high": judgement.high,
        "p_value": judgement.p_value,
        "more_runs": judgement.more_runs,
        "remarks": list(wording.remarks(row)),
        "before": {"median": row.median_before, "values": [_value(s) for s in row.before]},
        "after": {"median": row.median_after, "values": [_value(s) for s in row.after]},
    }


def _value(sample: Sample) -> Mapping[str, Any]:
    return {
        "run": sample.run,
        "at": datetime.fromtimestamp(sample.at_s, timezone.utc).isoformat(),
        "value": sample.value,
        "low": sample.low,
        "high": sample.high,
        "censored": sample.censored,
        "lossy_hop": sample.lossy_hop,
    }
