"""Copies the results of a run out of its master's pod: a tar stream, verified file by file, and only then confirmed."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from tokenswarm.kube.cluster_api import ClusterApi, KubeError
from tokenswarm.kube.manifests import RESULTS
from tokenswarm.kube.pod_entry import COLLECTED_FILE, EXIT_CODE_FILE


def collect(api: ClusterApi, pod: str, results: Path) -> tuple[list[Path], int]:
    """Copy all runs of a pod to folders below `results`, and let the pod end. Returns these folders, and the exit code
    of the run. Raises KubeError; what is in the pod then stays there."""
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as archive, tempfile.TemporaryDirectory(dir=results, prefix=".kube-") as place:
        api.execute(pod, ["tar", "cf", "-", "-C", RESULTS, "."], archive.write)
        archive.seek(0)
        _extract(archive, Path(place), pod)
        try:
            code = int((Path(place) / EXIT_CODE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise KubeError(f"The results in pod {pod} are not complete: {EXIT_CODE_FILE} is missing.") from None
        runs = [file.parent for file in sorted(Path(place).glob("*/run.json")) if not file.parent.is_symlink()]
        folders = [_moved(run, results) for run in runs]
    api.execute(pod, ["touch", f"{RESULTS}/{COLLECTED_FILE}"])
    return folders, code


def _extract(archive: IO[bytes], place: Path, pod: str) -> None:
    """Raises KubeError for an archive that is cut short or leads out of the folder."""
    try:
        with tarfile.open(fileobj=archive) as files:
            members = files.getmembers()
            files.extractall(place, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise KubeError(f"The results of pod {pod} did not arrive whole: {error}.") from None
    short = [each.name for each in members if each.isfile() and (place / each.name).stat().st_size != each.size]
    if short or not members:
        raise KubeError(f"The results of pod {pod} did not arrive whole: {', '.join(short[:3]) or 'nothing came'}.")


def _moved(folder: Path, results: Path) -> Path:
    """To a name that is free."""
    number = 1
    while (target := results / (folder.name if number == 1 else f"{folder.name}-{number}")).exists():
        number += 1
    shutil.move(folder, target)
    return target
