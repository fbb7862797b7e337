"""Which of two sides is better, and how sure that is (docs/statistics.md)."""
