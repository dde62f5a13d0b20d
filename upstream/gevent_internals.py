"""The private names of gevent that Tokenswarm uses. Each function names its source; tests/upstream checks each."""

from __future__ import annotations

from typing import Any

#: The version of gevent that these functions were last checked with.
CHECKED_WITH = "26.9.0"


def has_due_callbacks(loop: Any) -> bool:
    """Whether greenlets or other callbacks are due before the loop waits for its sockets again.

    gevent has no public name for this: the loop's `pendingcnt` counts events of its watchers only.

    Upstream: https://github.com/gevent/gevent/blob/26.9.0/src/gevent/libev/corecext.pyx (loop._callbacks)
    """
    return bool(loop._callbacks)
