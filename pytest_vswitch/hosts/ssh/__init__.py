"""A connection to a host over SSH, with host keys that are checked strictly."""
