"""memif as a generator's port: shared memory that the DUT reads and writes.

`port` is that memory, `protocol` hands it over, `generator` attaches a lab's generator.
"""
