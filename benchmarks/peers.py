"""Others' clients that are run where they are installed, and what they report of each request.

AIPerf (aiperf on PyPI) writes a line of JSON a request, with the id that it sent. It runs as processes that share the
one core; what they cost is told of those that ended before it did, its memory of the first one alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.clients import Client
from benchmarks.question import BODY
from benchmarks.records import ANSWER_TOKENS_MAX, Load, Seen

_PATIENCE_S = 20
_PROMPT_TOKENS = 20


class PeerError(ValueError):
    """A peer cannot be run as asked; the text says why."""


def aiperf(program: str) -> Client:
    """NVIDIA's AIPerf, in a closed loop of as many requests as there are users."""

    def command(load: Load, host: str, folder: Path) -> list[str]:
        return [
            *(program, "profile", "--model", str(BODY["model"]), "--url", host, "--endpoint-type", "chat"),
            *("--streaming", "--concurrency", str(load.users), "--concurrency-ramp-duration", str(load.ramp_s)),
            *("--benchmark-duration", str(load.asking_s), "--benchmark-grace-period", str(_PATIENCE_S)),
            *("--isl", str(_PROMPT_TOKENS), "--osl", str(ANSWER_TOKENS_MAX), "--use-server-token-count"),
            *("--tokenizer", str(_tokenizer(folder)), "--ui", "none", "--output-artifact-dir", str(folder)),
        ]

    return Client("aiperf", command, read_aiperf)


PEERS = {"aiperf": aiperf}


def peers(given: Mapping[str, str]) -> list[Client]:
    """Those that are installed, or given by the path of their program. Raises PeerError."""
    for name, path in given.items():
        if name not in PEERS:
            raise PeerError(f"--peer takes NAME=PATH, NAME one of {', '.join(PEERS)}; got {name!r}")
        if shutil.which(path) is None:
            raise PeerError(f"--peer {name}={path}: there is no such program")
    programs = {name: given.get(name) or shutil.which(name) for name in PEERS}
    return [PEERS[name](program) for name, program in programs.items() if program]


def read_aiperf(folder: Path) -> list[Seen]:
    """profile_export.jsonl. Raises OSError, and KeyError for what is no such file."""
    lines = (folder / "profile_export.jsonl").read_text(encoding="utf-8").splitlines()
    return [_seen_by_aiperf(json.loads(line)) for line in lines]


def _seen_by_aiperf(record: Mapping[str, Mapping[str, object]]) -> Seen:
    metadata, metrics = record["metadata"], record["metrics"]
    ttft_ms = _value(metrics, "time_to_first_token")
    return Seen(
        request_id=str(metadata["x_request_id"]),
        sent_ns=int(str(metadata["request_start_ns"])),
        ttft_ns=None if ttft_ms is None else round(ttft_ms * 1e6),
        gap_max_ns=None,
        events=int(_value(metrics, "output_sequence_length") or 0),
        ok=not (metadata["was_cancelled"] or record.get("error")),
    )


def _value(metrics: Mapping[str, object], name: str) -> float | None:
    metric = metrics.get(name)
    return float(metric["value"]) if isinstance(metric, dict) else None


def _tokenizer(folder: Path) -> Path:
    """A tokenizer of single bytes: enough to make prompts of, and nothing is fetched."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: place for place, character in enumerate(characters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    where = folder / "tokenizer"
    where.mkdir()
    tokenizer.save(str(where / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (where / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return where
