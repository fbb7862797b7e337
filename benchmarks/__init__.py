"""Performance statements are ratios, taken in one run; each file says how to take them again."""
