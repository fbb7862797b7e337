"""Which revision of a git history made a measured value change, found in spite of noise."""
