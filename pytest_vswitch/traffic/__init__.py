"""Traffic generators behind the contract in `generator`.

`sim` is a simulation. Of the others, what happens to a frame: `worker_generator` (in pytest)
asks `worker` (its own process, on the host that has the ports) for a trial; `engine` paces
it, `stream` stamps and checks, on the `ring`s of a `port`, which `memif` and `af_packet` make.
"""
