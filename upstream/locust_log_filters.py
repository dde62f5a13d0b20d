"""Lines of Locust's logs that are dropped.

Each filter says what Locust logs without it and where. A test in tests/upstream fails when it can be removed.
"""

from __future__ import annotations

import logging
from collections import Counter


class TaskErrorFilter(logging.Filter):
    """Drops further lines of an error of a task that was logged some times, except at log level DEBUG.

    Locust logs each with its traceback. Of a task that fails at once, and users that do not wait, these are thousands
    of lines a second.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/user/task.py#L330-L345
    """

    LOGGER = "locust.user.task"
    #: How often an error is logged.
    OFTEN = 3
    _MOST_KINDS = 100

    def __init__(self) -> None:
        super().__init__()
        self._logged: Counter[str] = Counter()

    @classmethod
    def attach(cls) -> None:
        """Filter from now on; once in a process."""
        logger = logging.getLogger(cls.LOGGER)
        if not any(isinstance(known, cls) for known in logger.filters):
            logger.addFilter(cls())

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is logged; the last one says that no more follow."""
        if record.levelno != logging.ERROR or logging.getLogger().isEnabledFor(logging.DEBUG):
            return True
        kind = record.getMessage()
        if len(self._logged) >= self._MOST_KINDS and kind not in self._logged:
            return False
        self._logged[kind] += 1
        if self._logged[kind] == self.OFTEN:
            record.msg, record.args = "%s\nThis error is logged no more; its number is in the verdict.", (kind,)
        return self._logged[kind] <= self.OFTEN
