"""Where a worker that was started by itself keeps its spool."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from tokenswarm.recording.recording_options import RecordingOptions


def worker_spool_folder(options: RecordingOptions, run: int) -> Path | None:
    """The folder for that run: in --spool-folder of this machine, else in the system's temporary folder, under a name
    with the user's id, which is made with no access for others. None where no spool is wanted. Raises OSError, also
    where that folder is somebody else's."""
    if not options.spools:
        return None
    parent = options.spool_folder
    if parent is None:
        parent = Path(tempfile.gettempdir()) / f"tokenswarm-spool-{os.geteuid()}"
        parent.mkdir(mode=0o700, exist_ok=True)
        found = parent.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise FileExistsError(17, "it belongs to another user", str(parent))
    return parent / f"run-{run}"
