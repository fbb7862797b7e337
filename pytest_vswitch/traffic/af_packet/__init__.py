"""Network interfaces as a generator's ports: frames by way of the kernel (packet(7)).

`interface` finds and prepares them on the generator's host, `port` sends and receives on
one, `generator` attaches a lab's generator.
"""
