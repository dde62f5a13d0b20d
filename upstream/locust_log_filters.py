"""Lines of Locust's logs that are dropped.

Each filter says what Locust logs without it and where. A test in tests/upstream fails when it can be removed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar


class RoutineLogFilter(logging.Filter):
    """Drops the lines that Locust logs of each step of a shape and of its end, except at log level DEBUG.

    A level has six of them, and the last ones follow after the run's report. Where users could not be created, or are
    not there in time, one says that spawning is complete and that reports are missing: the verdict and each progress
    line have the number of users. Locust has no option for this but --loglevel, which drops ours too.

    A level ends with all its users at once. Of more than 100 users Locust warns then that the selected spawn rate is
    very high, which nobody has selected. Users that come late in a ramp are in the verdict.

    With --autostart and no --autoquit, Locust says that its page is left running at the end of the shape, and once more
    when the time of -t is over.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L183-L420 and
    https://github.com/locustio/locust/blob/2.47.0/locust/main.py#L480-L700
    """

    #: By the logger that writes them: how the lines begin.
    LINES: Mapping[str, tuple[str, ...]] = {
        "locust.runners": (
            *("Shape test starting", "Shape worker starting", "Shape test updating to", "Shape test stopping"),
            *(
                "Ramping to",
                "All users spawned: ",
                "Sending spawn jobs of ",
                "Spawning is complete and report waittime",
            ),
        ),
        "locust.main": (
            *("Shape test completed", "Run time limit set to", "--run-time limit reached", "Shutting down (exit code"),
        ),
    }

    #: How warnings begin, by the logger that writes them.
    WARNINGS: Mapping[str, str] = {"locust.runners": "Your selected spawn rate is very high"}
    #: How the line begins that is logged once.
    ONCE = "--autoquit not specified, leaving web ui running"

    def __init__(self) -> None:
        super().__init__()
        self._page_said = False

    @classmethod
    def attach(cls) -> None:
        """Filter from now on; once in a process."""
        for name in cls.LINES:
            logger = logging.getLogger(name)
            if not any(isinstance(known, cls) for known in logger.filters):
                logger.addFilter(cls())

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is logged."""
        if record.levelno not in (logging.INFO, logging.WARNING) or logging.getLogger().isEnabledFor(logging.DEBUG):
            return True
        message = record.getMessage()
        if message.startswith(self.ONCE):
            said, self._page_said = self._page_said, True
            return not said
        lines = self.LINES.get(record.name, ()) if record.levelno == logging.INFO else self.WARNINGS.get(record.name)
        return lines is None or not message.startswith(lines)


class StatsTablesFilter(logging.Filter):
    """Drops Locust's two final tables of requests, and keeps its table of errors.

    Locust prints them whatever its options say. Rounded to two digits, they repeat a part of the run's own table.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/main.py#L673-L681
    """

    LOGGER = "locust.stats_logger"
    #: How the tables begin. An empty line ends each.
    HEADS = ("Type     Name", "Response time percentiles")

    def __init__(self) -> None:
        super().__init__()
        self._in_table = False

    def attach(self) -> None:
        """Filter from now on."""
        logging.getLogger(self.LOGGER).addFilter(self)

    def detach(self) -> None:
        """Filter no more."""
        logging.getLogger(self.LOGGER).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is printed."""
        line = record.getMessage()
        was_in_table = self._in_table
        self._in_table = line.startswith(self.HEADS) or (was_in_table and bool(line))
        return not (self._in_table or was_in_table)


class IgnoredOptionsFilter(logging.Filter):
    """Drops what Locust logs of --users, --spawn-rate and --run-time beside a shape of the locustfile: that all three
    are ignored. --run-time ends the run, and run_control/own_options.py refuses the others.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/main.py#L382-L392
    """

    LOGGER = "locust.main"
    #: How the lines begin.
    LINES = ("--run-time, --users or --spawn-rate have no impact", "The following option(s) will be ignored: ")

    def attach(self) -> None:
        """Filter from now on."""
        logging.getLogger(self.LOGGER).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is logged."""
        return not record.getMessage().startswith(self.LINES)


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


class EventErrorFilter(logging.Filter):
    """Logs an error of a listener to one of Locust's events once, and counts it; at log level DEBUG, all are logged.

    Locust logs each with its traceback, and only says with exit code 2 that there was one. Of a listener to `request`
    that fails, these are hundreds of lines a second.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/event.py#L41-L55
    """

    #: How the lines begin. Locust's own logger for them is the root.
    LINE = "Uncaught exception in event handler"
    _MOST_KINDS = 100
    #: Of this process, by traceback.
    counted: ClassVar[Counter[str]] = Counter()

    @classmethod
    def attach(cls) -> None:
        """Filter from now on; once in a process."""
        logger = logging.getLogger()
        if not any(isinstance(known, cls) for known in logger.filters):
            logger.addFilter(cls())

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is logged."""
        message = record.getMessage() if record.levelno == logging.ERROR else ""
        if not message.startswith(self.LINE):
            return True
        traceback = message.partition("\n")[2].strip()
        if len(self.counted) < self._MOST_KINDS or traceback in self.counted:
            self.counted[traceback] += 1
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            return True
        if self.counted[traceback] == 1:
            record.msg = "%s\nFurther errors of this kind are counted, and not logged."
            record.args = (message.rstrip(),)
        return self.counted[traceback] == 1
