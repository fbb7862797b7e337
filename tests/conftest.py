"""For all tests: no deadline for a single example of a property; machines are shared and busy."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # New examples are for who can look into them; CI judges the change.
    derandomize="CI" in os.environ,
)
settings.load_profile("patient")
