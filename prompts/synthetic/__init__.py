"""Synthetic workloads: lengths drawn from distributions, and texts of exactly so many tokens."""
