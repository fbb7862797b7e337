"""Hosts with cards and programs that no machine here has: stateful, strict, breakable."""
