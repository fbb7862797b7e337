"""Two sides of a history, held against each other; see docs/compare.md."""
