"""Locust and simulators, as for the tests of whole runs."""

from tests.runs.conftest import run_locust, start_locust, start_simulator

__all__ = ["run_locust", "start_locust", "start_simulator"]
