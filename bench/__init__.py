"""Benchmarks: what the extension costs, as ratios of two things measured in one run on one server."""
