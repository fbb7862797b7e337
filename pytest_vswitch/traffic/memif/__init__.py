"""The memif traffic generator: two shared-memory ports, one process, one core.

What happens to a frame: `generator` (in pytest) asks `worker` (its own process on
the DUT's host) for a trial; `engine` paces, stamps and checks; `ring` is the memory
that the DUT reads and writes; `protocol` hands that memory over.
"""
