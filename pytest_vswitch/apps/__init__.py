"""Foreign programs, one module each: parameters in, facts out, how it is run."""
