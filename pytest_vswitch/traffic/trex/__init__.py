"""TRex as a generator: its server on the generator's host, its official client in our worker.

`client` finds the client, `loading` imports it, `driver` uses it inside `worker`, a process of
its own; `server` starts the server; `streams` is what a trial sends; `generator` attaches.
"""
