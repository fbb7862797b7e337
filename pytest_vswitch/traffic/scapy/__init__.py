"""Functional truth: few frames, each of them exact, through scapy's sockets.

It shares no code with the fast generators but their contract, so that two programs that were
written apart must count the same. Its worker needs scapy on the generator's host, not numpy.
"""
