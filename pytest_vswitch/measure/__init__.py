"""What is measured: trials, searched throughput, functional truth."""
