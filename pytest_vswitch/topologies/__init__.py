"""Wirings of a DUT, one module each, behind the contract in `topology`."""
