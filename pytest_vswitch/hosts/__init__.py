"""Hosts: the one door to a machine."""
