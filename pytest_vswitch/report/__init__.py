"""What is shown: a self-contained HTML report."""
