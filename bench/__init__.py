"""Benchmarks as ratios: one question against a bare echo under the same server, in the same run."""
