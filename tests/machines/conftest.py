"""Every test here may have machines."""

from tests.machines.fixtures import dut, machines

__all__ = ["dut", "machines"]
