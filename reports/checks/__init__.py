"""Conditions and objectives that a run is checked against."""
