"""Where prompts come from: the packaged sample, databricks-dolly-15k, any data set of the hub, or a local file."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from tokenswarm.prompts.agent_formats import agent_format
from tokenswarm.prompts.conversations import OtherRole
from tokenswarm.prompts.counting import TokenCounter
from tokenswarm.prompts.file_rows import PromptTable, Row, folder_table, kind_of
from tokenswarm.prompts.generator_file import generator_format
from tokenswarm.prompts.hub import HUB_FORM, HubDataSet, read_hub
from tokenswarm.prompts.json_rows import UnsoundRows
from tokenswarm.prompts.own_sources import is_own_source, named_sources, own_table
from tokenswarm.prompts.prompt_records import LeftOut, Prompt, PromptError, PromptSet
from tokenswarm.prompts.row_formats import TEXT_COLUMNS, RowContent, RowError, RowFormat, row_format
from tokenswarm.prompts.session_formats import session_format
from tokenswarm.prompts.sessions import with_tokens
from tokenswarm.prompts.span_formats import SkippedSpan
from tokenswarm.prompts.stored_prompts import PromptCollector
from tokenswarm.prompts.suppress_output import first_line
from tokenswarm.sanitize import MissingFile, UnusableFile, check_file

SAMPLE_FILE = Path(__file__).with_name("sample.jsonl")
DOLLY = HubDataSet("databricks/databricks-dolly-15k")
#: Sources whose rows Tokenswarm chose; the others are the user's own.
SHIPPED_SOURCES = ("sample", "dolly")

_EXPECTED_COLUMNS = f"{TEXT_COLUMNS[0]} (with context, if any), {', '.join(TEXT_COLUMNS[1:-1])} or {TEXT_COLUMNS[-1]}"
_MOST_FILE_BYTES = 2**40
_FILE_KINDS = "a .jsonl, .json, .csv (also .gz), .parquet or .arrow file"
#: Of the files that are read in a folder: of the first that it has any of.
_FOLDER_SUFFIXES = ((".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"), (".json", ".json.gz"))


def parse_token_range(text: str) -> tuple[int, int]:
    """The lengths in tokens, both inclusive, that `text` ("30:150") names; raises PromptError when it cannot be."""
    match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text, re.ASCII)
    if match is None:
        raise PromptError(f"--prompt-tokens: expected MIN:MAX such as 30:150, got {text!r}.")
    tokens_min, tokens_max = int(match[1]), int(match[2])
    if tokens_max == 0 or tokens_min > tokens_max:
        raise PromptError(f"--prompt-tokens: expected MIN no greater than MAX, and MAX at least 1, got {text!r}.")
    return tokens_min, tokens_max


def load_prompts(
    source: str,
    *,
    tokens_min: int,
    tokens_max: int,
    counter: TokenCounter,
    text_column: str | None = None,
    seed: int = 0,
    sessions: bool = False,
) -> PromptSet:
    """The prompts of `source` that have tokens_min to tokens_max tokens (both inclusive), in the source's order.

    `source` is "sample" (packaged), "dolly" (databricks-dolly-15k), "hf:OWNER/NAME[:CONFIG][@SPLIT]" (any data set of
    the Hugging Face hub, split train unless named), the path of a .jsonl, .json, .csv, .parquet or .arrow file, the
    first three also compressed by gzip, a folder of .jsonl files, or a name that code has registered. Files are read
    as a stream. `text_column` overrides the choice of column. Rows without text, outside of the lengths, with messages
    of other roles than user, assistant and system, and spans that are no request are left out and counted. `seed`: of
    prompts that a generator file or code describes. `sessions`: whether a row that holds a conversation is a session of
    several turns, whose first request then has these lengths; else it is one request.

    Raises PromptError, in one sentence, when the source cannot be read or leaves no prompt. No source ever stands in
    for another.
    """
    table = own_table(source, seed) if is_own_source(source) else _read(source)
    generated = _generated(source, table, counter, seed) if text_column is None else None
    table, wanted = generated or _format(source, table, text_column)
    collector = PromptCollector()
    row_count = images = 0
    left_out: Counter[str] = Counter()
    unused: Counter[str] = Counter()
    shortest, longest = None, 0
    for row_count, content in enumerate(_read_rows(source, table, wanted, sessions), start=1):
        if isinstance(content, str):
            left_out[content] += 1
            continue
        if not content.conversation.text and not content.parts:
            left_out["without_text"] += 1
            continue
        prompt = _prompt_of(content, row_count)
        tokens = content.tokens or sum(counter.count(turn.text) for turn in prompt.messages)
        shortest = tokens if shortest is None else min(shortest, tokens)
        longest = max(longest, tokens)
        if tokens_min <= tokens <= tokens_max:
            images += content.images
            unused.update(content.unused)
            turns = tuple(with_tokens(turn, counter.count) for turn in content.turns)
            collector.add(msgspec.structs.replace(prompt, tokens=tokens, turns=turns))
        else:
            left_out["by_length"] += 1
    if shortest is None:
        raise _nothing_to_send(source, row_count, left_out)
    if not collector.stats.lengths:
        raise PromptError(
            f"prompts from {source!r}: none of its {row_count} rows has {tokens_min} to {tokens_max} tokens; by "
            f"{counter.name} they have {shortest if shortest == longest else f'{shortest} to {longest}'}; "
            "widen --prompt-tokens."
        )
    kept = collector.prompts()
    rows = replace(_left_out(row_count, left_out, images, unused), tokens_range=f"{tokens_min}:{tokens_max}")
    return PromptSet(source, kept, counter.name, collector.fingerprint, rows, collector.stats)


def _nothing_to_send(source: str, rows: int, counts: Counter[str]) -> PromptError:
    if rows == 0:
        return PromptError(f"prompts from {source!r}: there are no rows in it; give a source with prompts.")
    why = _left_out(rows, counts - Counter(without_text=rows)).notice()
    return PromptError(f"prompts from {source!r}: none of its {rows} rows has any text{f' ({why})' if why else ''}.")


def _left_out(rows: int, counts: Counter[str], images: int = 0, unused: Mapping[str, int] | None = None) -> LeftOut:
    """counts: by the field of `LeftOut`."""
    spans = counts["failed_spans"], counts["other_spans"]
    return LeftOut(
        rows, counts["by_length"], counts["without_text"], counts["of_other_roles"], images, *spans, unused or {}
    )


def _prompt_of(content: RowContent, number: int) -> Prompt:
    conversation = content.conversation
    return Prompt(
        conversation.text,
        0,
        content.category,
        str(number),
        conversation.system,
        conversation.earlier,
        custom_id=content.custom_id,
        max_tokens=content.max_tokens,
        body_overrides=content.body_overrides,
        endpoint=content.endpoint,
        model=content.model,
        later=conversation.later,
        tool_fields=conversation.tool_fields,
        parts=content.parts,
        agents=content.agents,
    )


def _read_rows(source: str, table: PromptTable, wanted: RowFormat, sessions: bool) -> Iterator[RowContent | str]:
    """What each row sends; for one that is left out the field of `LeftOut` that counts it. Raises PromptError."""
    rows = enumerate(_rows(source, table, wanted), start=1)
    number = 0
    read = (wanted.read_session if sessions else None) or wanted.read
    while True:
        try:
            number, row = next(rows, (number, None))
            if row is None:
                return
            yield read(row)
        except OtherRole:
            yield "of_other_roles"
        except SkippedSpan as skipped:
            yield skipped.reason
        except RowError as error:
            place = table.place(error.row or number)
            raise PromptError(f"prompts from {source!r}: {place}: {error}.") from None


def _rows(source: str, table: PromptTable, wanted: RowFormat) -> Iterator[Row]:
    try:
        yield from table.rows(list(wanted.columns))
    except RowError:
        raise
    except (UnsoundRows, OSError) as error:
        raise _unsound(source, error) from None
    except Exception as error:  # bytes that are no UTF-8, features that need yet another library
        raise PromptError(
            f"prompts from {source!r}: its rows cannot be read ({first_line(error)}); expected text in UTF-8."
        ) from None


def _read(source: str) -> PromptTable:
    if source == "sample":
        rows = [json.loads(line) for line in SAMPLE_FILE.read_text(encoding="utf-8").splitlines()]
        return PromptTable(tuple(rows[0]), lambda _: rows)
    if source == "dolly":
        return read_hub(source, DOLLY)
    if source.startswith("hf:"):
        return read_hub(source, HubDataSet.of(source))
    return _read_file(source)


def _read_file(source: str) -> PromptTable:
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(source, path)
    _check_file(source, path)
    kind = kind_of(path)
    if kind is None:
        raise PromptError(f"prompts from {source!r}: expected {_FILE_KINDS}, got {path.suffix or 'no suffix'!r}.")
    if path.stat().st_size == 0:
        raise PromptError(f"prompts from {source!r}: the file is empty; give one with prompts.")
    try:
        return kind.open_table(path)
    except (UnsoundRows, OSError) as error:
        raise _unsound(source, error) from None


def _read_folder(source: str, folder: Path) -> PromptTable:
    """The files of JSON lines in a folder, in the order of their names; where it has none, those of JSON."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    of_suffixes = ([path for path in files if path.name.lower().endswith(ends)] for ends in _FOLDER_SUFFIXES)
    paths = next(filter(None, of_suffixes), None)
    if not paths:
        raise PromptError(
            f"prompts from {source!r}: that is a folder without .jsonl or .json files; give {_FILE_KINDS}."
        )
    for path in paths:
        _check_file(source, path)
    try:
        return folder_table(paths)
    except (UnsoundRows, OSError) as error:
        raise _unsound(source, error) from None


def _check_file(source: str, path: Path) -> None:
    try:
        check_file(path, _MOST_FILE_BYTES)
    except MissingFile:
        names = ", ".join(named_sources())
        raise PromptError(
            f"prompts from {source!r}: no such file; expected {names}, {HUB_FORM} or {_FILE_KINDS}."
        ) from None
    except UnusableFile as error:
        raise PromptError(f"prompts from {source!r}: the file {error}.") from None


def _unsound(source: str, error: Exception) -> PromptError:
    kind = kind_of(Path(source))
    return PromptError(
        f"prompts from {source!r}: the file is not sound {kind.name if kind else 'data'} ({first_line(error)})."
    )


def _generated(
    source: str, table: PromptTable, counter: TokenCounter, seed: int
) -> tuple[PromptTable, RowFormat] | None:
    try:
        return generator_format(table, Path(source).expanduser().parent, counter.count, seed)
    except RowError as error:
        raise PromptError(f"prompts from {source!r}: {error}.") from None
    except (UnsoundRows, OSError) as error:
        raise _unsound(source, error) from None


def _format(source: str, table: PromptTable, text_column: str | None) -> tuple[PromptTable, RowFormat]:
    try:
        sessions = (agent_format(table) or session_format(table)) if text_column is None else None
    except (UnsoundRows, OSError) as error:
        raise _unsound(source, error) from None
    if sessions is not None:
        return sessions
    wanted = row_format(table, text_column)
    if wanted is not None:
        return table, wanted
    if not table.columns:
        raise PromptError(f"prompts from {source!r}: there are no rows in it; give a source with prompts.")
    found = ", ".join(table.columns)
    ways_out = "; name another with --prompts-column" if text_column is None else ""
    raise PromptError(
        f"prompts from {source!r}: expected a column {text_column or _EXPECTED_COLUMNS}, found the columns {found}"
        f"{ways_out}."
    )
