"""The lab file: what there is, and what it is allowed to do."""
