"""Benchmark and regression certification of DPDK data planes, as a pytest plugin."""

__version__ = "0.1.0"
