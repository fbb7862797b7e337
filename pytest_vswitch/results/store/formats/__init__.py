"""What results are exported to and imported from; what a file is, its content tells."""
