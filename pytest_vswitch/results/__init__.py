"""What is kept: record, journal, template, thresholds."""
