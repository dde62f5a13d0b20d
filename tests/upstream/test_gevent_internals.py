"""The private names of gevent are there, and no public name has come for them."""

from __future__ import annotations

import gevent

from tokenswarm.upstream.gevent_internals import has_due_callbacks


def test_due_callbacks_are_seen_and_no_public_name_shows_them() -> None:
    loop = gevent.config.loop(default=False)  # of its own: other tests may have left callbacks in this thread's
    before = has_due_callbacks(loop)
    pending = loop.pendingcnt
    callback = loop.run_callback(lambda: None)
    assert (before, has_due_callbacks(loop)) == (False, True)
    assert loop.pendingcnt == pending
    callback.stop()
    loop.destroy()
