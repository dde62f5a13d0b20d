"""A cluster of the test's own, and a run's folder as its master leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kube.fake_cluster import FakeCluster, fake_cluster
from tests.runs.conftest import start_simulator

__all__ = ["cluster", "start_simulator"]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    pytest.importorskip("kubernetes", reason="the extra kube is not installed")
    with fake_cluster() as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield cluster
