"""For all tests: how properties are tried on shared and busy machines, and Ctrl-C."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # New examples are for who can look into them; CI judges the change.
    derandomize="CI" in os.environ,
)
settings.load_profile("patient")

# Some tests press Ctrl-C, which a script's `pytest &` would have ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
