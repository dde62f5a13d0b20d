"""Fixtures of a run's records, and of whole folders."""

from tests.reports.conftest import make_ladder, make_level, write_run  # noqa: F401
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
