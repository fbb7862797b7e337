"""Results over months: where cases changed, and what changed with them."""
