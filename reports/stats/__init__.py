"""Figures of a run with their intervals, and what differs between runs."""
