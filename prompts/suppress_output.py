"""Third-party loaders, kept from writing over the run's own output."""

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType


@contextmanager
def suppress_output(*talkers: ModuleType) -> Iterator[None]:
    """No progress bars and no log lines inside from `talkers` (`datasets.utils`, `huggingface_hub.utils`).

    These libraries log a failure and then raise it: only the raised one is wanted, as a sentence of ours.
    """
    with ExitStack() as restore:
        for talker in talkers:
            logger = logging.getLogger(talker.__name__.partition(".")[0])
            restore.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
            if not talker.are_progress_bars_disabled():
                restore.callback(talker.enable_progress_bars)
                talker.disable_progress_bars()
        yield


def announce_download(what: str) -> None:
    """Print at once, on the standard error, that `what` is loaded from the hub: it may take half a minute, and happens
    before logging is set up."""
    print(f"Loading {what} from the Hugging Face hub or its cache on this machine …", file=sys.stderr, flush=True)


def first_line(error: BaseException, limit: int = 160) -> str:
    """What a third-party error says, as a clause for a sentence of ours: one line, no full stop, `limit` characters."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = str(root).strip().splitlines()
    clause = lines[0].rstrip(" .:;") if lines else type(root).__name__
    return clause if len(clause) <= limit else clause[: limit - 3] + "..."
