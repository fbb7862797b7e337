"""Traffic generators, one module each, behind the contract in `generator`."""
