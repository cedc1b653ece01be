"""Benchmarks: each prints figures and judges nothing."""
