"""The page says where a level's TTFT may be the server's prefix cache's, while the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run_fixtures import make_timeline
from tokenswarm.metrics.level import Level
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.prometheus import LiveRun
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.server_samples import ServerSample
from tokenswarm.run_folder.schema import RunFacts
from tokenswarm.web.live_view import LiveView

PLAN = [Level(0, "off", "10", 10, 2.0, 12.0), Level(1, "on", "10", 10, 2.0, 12.0)]


def live_run(folder: Path, reuse: str, texts: int, requests: int = 60) -> LiveRun:
    """A run whose first level sent so many requests of so many texts, and whose second is going on."""
    run, recorder = LiveRun(), Recorder(0)
    run.aggregator = Aggregator(Objectives())
    for number, level in enumerate(PLAN):
        run.aggregator.begin_level(level, number * 20.0)
        recorder.begin_level(level, 0, 0)
    for number in range(requests):
        sent = {"prompt_hash": f"{number % texts:016x}", "prompt_tokens": 100, "prompt_tokens_source": "usage"}
        recorder.record(make_timeline(**sent))
    run.aggregator.apply(recorder.take_report())
    run.facts = RunFacts("http://gpu", "vllm", "llama", "ladder", PLAN, {}, {"reuse": reuse})
    run.folder, run.now_s = folder, lambda: 25.0
    return run


def hints(run: LiveRun) -> list[str]:
    return LiveView(run, lambda: 0.0).document("", 0)["hints"]


def found(run: LiveRun, hits: float) -> LiveRun:
    """The same beside a server that found that share of the prompt tokens in its cache."""
    for time_s, queries in ((3.0, 1000.0), (11.0, 2000.0)):
        values = {"prefix_cache_queries_total": queries, "prefix_cache_hits_total": queries * hits}
        run.server.add(ServerSample(time_s, 0, values), 0)
    return run


def test_texts_that_are_sent_again_are_said_with_their_share(tmp_path: Path) -> None:
    (hint,) = hints(live_run(tmp_path, "always", texts=30))
    assert "50%" in hint
    assert hints(live_run(tmp_path, "never", texts=60)) == []


@pytest.mark.parametrize(("reuse", "hits", "said"), [("never", 0.3, 0), ("never", 0.4, 1), ("run", 0.3, 1)])
def test_hits_are_said_that_are_no_template_s(tmp_path: Path, reuse: str, hits: float, said: int) -> None:
    assert len(hints(found(live_run(tmp_path, reuse, texts=60), hits))) == said


def test_a_few_requests_say_nothing(tmp_path: Path) -> None:
    assert hints(live_run(tmp_path, "always", texts=1, requests=19)) == []
