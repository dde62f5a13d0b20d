"""When a run's repeated prompts and prefix-cache hits are reported, and when two runs' hits are too far apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.reports.conftest import distribution, level, run_json, summary_json
from tokenswarm.reports.cache_notes import HEADINGS, cache_cells, cache_notes, with_cache_audit
from tokenswarm.reports.compare.comparability import differences, prefix_hit_notices
from tokenswarm.reports.html.run_config import command_of
from tokenswarm.reports.stats.prompt_reuse import hit_ratio, prompt_notices
from tokenswarm.reports.text_table import header_lines
from tokenswarm.run_folder.reader import Results, load_results
from tokenswarm.run_folder.schema import IssueKind, Validity, ValidityIssue

Make = Callable[..., Results]


@pytest.fixture
def a_run(tmp_path: Path) -> Make:
    """A run of one level whose hold has these prompts and this hit ratio of the server's own."""
    numbers = iter(range(100))

    def make(
        reuse: str = "never",
        mode: str = "off",
        server: float | None = None,
        names: Sequence[dict[str, Any]] = (),
        cache: str = "share",
        **prompts: Any,
    ) -> Results:
        hold = {"prompts": {"requests": 100} | prompts, "names": names}
        if server is not None:
            hold["server"] = {"prefix_cache_hit_ratio": server}
        levels = [level(0, 10, mode, **hold)]
        folder = tmp_path / f"run-{next(numbers)}"
        folder.mkdir()
        options = {"prompt_reuse": "never" if reuse == "own" else reuse, "cache": cache}
        facts = {"options": options, "prompts": {"reuse": reuse}}
        (folder / "run.json").write_text(json.dumps(run_json(levels, **facts)))
        (folder / "summary.json").write_text(json.dumps(summary_json(levels)))
        return load_results(folder)

    return make


def heads(results: Results) -> list[str]:
    return [notice.split(":")[0] for notice in prompt_notices(results)]


@pytest.mark.parametrize(("share", "said"), [(0.05, []), (0.051, ["PROMPTS REPEAT"]), (None, [])])
@pytest.mark.parametrize("mode", ["off", "on"])
def test_repeats_are_said_above_five_percent(share: float | None, said: list[str], mode: str, a_run: Make) -> None:
    assert heads(a_run("always", mode, repeated_share=share)) == said


def named(name: str, requests: int, repeated: int) -> dict[str, Any]:
    """Figures of the requests of a name in summary.json."""
    rates = dict.fromkeys(("share", "requested_share", "token_rate", "request_rate"))
    latencies = dict.fromkeys(("ttft_s", "tpot_s", "e2e_s", "request_token_rate"), distribution(0, 0, 0, 0))
    return {
        "name": name,
        "requests": requests,
        "repeated": repeated,
        "outcomes": {"ok": requests},
        "failures": 0,
        "output_tokens": 0.0,
        **rates,
        **latencies,
    }


@pytest.mark.parametrize(
    ("reuse", "names", "named_requests", "options"),
    [
        ("own", [named("ask", 60, 50), named("look", 40, 0)], "ask", set()),
        ("never", [named("ask", 60, 50), named("chat", 40, 0)], "ask", set()),
        ("always", [named("ask", 60, 0), named("chat", 40, 50)], "", {"--prompt-reuse always", "--cache bust"}),
        ("always", [named("ask", 60, 20), named("chat", 40, 30)], "ask", {"--prompt-reuse always", "--cache bust"}),
        ("always", [], "", {"--prompt-reuse always", "--cache bust"}),
    ],
)
def test_repeats_are_laid_to_those_that_sent_them_with_what_helps_them(
    reuse: str, names: list[dict[str, Any]], named_requests: str, options: set[str], a_run: Make
) -> None:
    run = a_run(reuse, names=names, repeated_share=0.5, repeated=50, requests=100)
    document = msgspec.structs.replace(run.run, own_code={"users": ["Reader", "Writer"]})
    (notice,) = prompt_notices(msgspec.structs.replace(run, run=document))
    assert "Writer" not in notice  # which may have sent nothing
    assert set(re.findall(r"--[a-z-]+ (?:always|never|run|bust|flush)", notice)) == options
    assert re.findall(r"\(requests: (.+?)\)", notice) == ([named_requests] if named_requests else [])


@pytest.mark.parametrize(("cache", "offered"), [("share", True), ("flush", False), ("bust", False)])
def test_an_option_that_the_run_has_is_not_recommended(cache: str, offered: bool, a_run: Make) -> None:
    again = {"repeated_share": 0.5, "repeated": 50, "repeated_from_earlier_levels": 40}
    (own,) = prompt_notices(a_run("own", names=[named("ask", 100, 50)], cache=cache, **again))
    assert ("--cache flush" in own) is offered
    assert "--cache bust" not in own  # which is refused beside users of the locustfile
    (default,) = prompt_notices(a_run("always", cache=cache, **again))
    assert ("--cache flush" in default) is offered
    assert ("--cache bust" in default) is (cache != "bust")


def test_hits_of_the_locustfile_s_own_conversations_are_not_reported(a_run: Make) -> None:
    assert heads(a_run("never", server=0.5, names=[named("turn", 50, 0), named("chat", 50, 0)])) == []


def test_bounds_are_said_as_they_were_set_and_shares_as_they_were_found(a_run: Make) -> None:
    repeats, hits = prompt_notices(a_run("always", repeated_share=0.5, server=0.25))
    for notice, found in ((repeats, "50.0 %"), (hits, "25.0 %")):
        assert "more than 5 % of the" in notice
        assert found in notice


def test_hits_are_said_without_a_system_prompt_only(a_run: Make) -> None:
    assert heads(a_run("always", server=0.06)) == ["PREFIX-CACHE HITS"]
    assert heads(a_run("always", server=0.05)) == []
    assert heads(a_run("always", "on", server=0.9)) == []


def test_the_answers_usage_tells_hits_where_the_server_s_metrics_do_not(a_run: Make) -> None:
    by_usage = a_run("run", cached_share=0.4)
    assert heads(by_usage) == ["PREFIX-CACHE HITS"]
    both = a_run("run", cached_share=0.4, server=0.01)
    assert hit_ratio(both.summary.levels[0]) == 0.01
    assert heads(both) == []
    assert hit_ratio(a_run().summary.levels[0]) is None


@pytest.mark.parametrize(("reuse", "length", "said"), [("never", 100.0, 0), ("never", 110.0, 1), ("always", 100.0, 1)])
def test_a_chat_template_s_beginning_is_no_hit_where_prompts_cannot_repeat(
    reuse: str, length: float, said: int, a_run: Make
) -> None:
    """30 % of 100 tokens are 30: two blocks; of 110 they are 33."""
    assert len(heads(a_run(reuse, server=0.3, prompt_tokens_mean=length))) == said


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (0.84, ["FEWER PREFIX-CACHE HITS THAN EXPECTED (10 users without system prompt"]),
        (0.86, []),
        (0.95, []),  # more than expected is a reason of the verdict
        (None, []),
    ],
)
@pytest.mark.parametrize("mode", ["off", "on"])
def test_fewer_hits_than_expected_are_said_in_each_mode(
    found: float | None, said: list[str], mode: str, a_run: Make
) -> None:
    expected = {"expected_share_min": 0.9, "expected_share_max": 0.91, "prompt_tokens_mean": 2200.0}
    level_said = [text.replace("without", "with") if mode == "on" else text for text in said]
    assert heads(a_run("never", mode, cached_share=found, **expected)) == level_said
    assert heads(a_run("never", mode, server=found, **expected)) == level_said


def test_expected_hits_are_no_notice_and_short_prompts_have_room_for_a_block(a_run: Make) -> None:
    expected = {"expected_share_min": 0.9, "expected_share_max": 0.91}
    assert heads(a_run("never", server=0.9, prompt_tokens_mean=2200.0, **expected)) == []
    assert heads(a_run("never", server=0.6, prompt_tokens_mean=100.0, **expected)) == []
    assert len(heads(a_run("never", server=0.6, prompt_tokens_mean=110.0, **expected))) == 1


def test_texts_of_an_earlier_level_are_said_with_their_share_and_a_cure(a_run: Make) -> None:
    (own,) = prompt_notices(a_run("always", repeated_share=0.5))
    (earlier,) = prompt_notices(a_run("always", repeated_share=0.5, repeated_from_earlier_levels=40))
    assert "--cache flush" not in own
    assert "40.0 %" in earlier
    assert "--cache flush" in earlier


def test_expected_and_observed_hits_are_in_the_table_and_in_the_report(a_run: Make) -> None:
    results = a_run(
        "never", server=0.87, cached_share=0.865, expected_share_min=0.861, expected_share_max=0.869, requests=50
    )
    (line,) = cache_notes(results.summary.levels)
    for share in ("86.1 %", "86.9 %", "86.5 %", "87.0 %"):
        assert share in line
    (level,) = results.summary.levels
    assert cache_cells(level)[2:] == ["86.1 %", "86.9 %", "86.5 %", "87.0 %", "0", "0", "–"]
    assert len(cache_cells(level)) == len(HEADINGS) - 1
    assert with_cache_audit([level]) == [level]
    refused = msgspec.structs.replace(level, cache_flushed=False)
    assert cache_cells(refused)[-1] == "REFUSED"
    plain = a_run("never", server=0.87).summary.levels
    assert (cache_notes(plain), with_cache_audit(plain)) == ([], [])


def test_without_a_known_length_hits_are_said_too(a_run: Make) -> None:
    assert heads(a_run("never", server=0.3)) == ["PREFIX-CACHE HITS"]


def test_runs_of_unlike_hits_are_not_compared_without_a_system_prompt_and_said_with_one(a_run: Make) -> None:
    assert [found.field for found in differences(a_run(server=0.1), a_run(server=0.8))] == ["prefix_hits"]
    assert differences(a_run(server=0.1), a_run(server=0.14)) == []
    assert differences(a_run(server=0.1), a_run()) == []  # of one nothing is known
    cached, uncached = (a_run(mode="on", server=ratio) for ratio in (0.8, 0.0))
    assert differences(uncached, cached) == []
    (notice,) = prefix_hit_notices(uncached, cached)
    assert "0 %" in notice
    assert "80.0 %" in notice


def test_one_server_s_block_and_another_s_token_are_compared_all_the_same(a_run: Make) -> None:
    """A template's 25 tokens of 100: a cache of blocks of 16 finds one block, a cache of tokens finds all."""
    blocks, tokens = (a_run(server=ratio, prompt_tokens_mean=100.0) for ratio in (0.16, 0.25))
    assert differences(blocks, tokens) == []


def test_runs_of_another_reuse_are_not_compared_and_an_older_run_had_always(a_run: Make) -> None:
    (found,) = differences(a_run("never"), a_run("always"))
    assert (found.field, found.base, found.new) == ("prompt_reuse", "never", "always")
    assert differences(a_run(""), a_run("always")) == []


def test_a_run_whose_prompts_may_repeat_says_so_at_its_head(a_run: Make) -> None:
    labelled = {
        reuse: [line for line in header_lines(a_run(reuse)) if "--prompt-reuse" in line]
        for reuse in ("never", "run", "always", "")
    }
    assert {reuse: len(lines) for reuse, lines in labelled.items()} == {"never": 0, "run": 1, "always": 1, "": 0}


def test_the_command_that_repeats_a_run_draws_a_nonce_of_its_own_unless_one_was_given(a_run: Make) -> None:
    results = a_run()
    for source, repeated in (("drawn", False), ("given", True)):
        run = msgspec.structs.replace(
            results.run, options={"prompt_nonce": "N1"}, prompts={"nonce": "N1", "nonce_source": source}
        )
        command = command_of(msgspec.structs.replace(results, run=run))
        assert ("--prompt-nonce N1" in command) is repeated


def test_hits_beside_another_client_are_not_blamed_on_the_server(a_run: Make) -> None:
    results = a_run("never", server=0.5)
    (alone,) = prompt_notices(results)
    issue = ValidityIssue(kind=IssueKind.OTHER_LOAD, message="other load")
    summary = msgspec.structs.replace(results.summary, validity=Validity("suspect", ("other load",), (issue,)))
    (shared,) = prompt_notices(msgspec.structs.replace(results, summary=summary))
    assert "puts a long text before each" in alone
    assert "puts a long text before each" not in shared
    assert "another client" in shared
