"""What a host is made of, what it should be, and how to mend it."""
