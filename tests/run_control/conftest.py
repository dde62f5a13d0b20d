"""Fixtures of a run's records, and a recorder whose clocks and greenlets are stand-ins."""

from tests.run_control.recording_bench import bench, greenlets  # noqa: F401
from tests.run_fixtures import (  # noqa: F401
    a_level,
    books,
    lower_edge,
    report,
    row,
    temporary_folder_of_its_own,
    the_test_runner_keeps_its_signal_handlers,
    timeline,
)
