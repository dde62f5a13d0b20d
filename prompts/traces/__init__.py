"""Traces of production traffic: readers of their formats, and what a replay sends when."""
