"""The benchmark: protocol, runs, BD-rate and reports."""
