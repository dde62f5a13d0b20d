"""Where prompts come from: the packaged sample, databricks-dolly-15k, any data set of the hub, or a local file."""

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prompts.conversations import Conversation, OtherRole, conversation_of
from prompts.counting import TokenCounter
from prompts.quiet import first_line, quiet
from prompts.records import LeftOut, Prompt, PromptError, PromptSet, fingerprint_of
from sanitize import MissingFile, UnusableFile, check_file, is_nested_deeper

SAMPLE_FILE = Path(__file__).with_name("sample.jsonl")
DOLLY = "databricks/databricks-dolly-15k"
#: Sources whose rows Tokenswarm chose; the others are the user's own.
SHIPPED_SOURCES = ("sample", "dolly")

_HUB_SOURCE = re.compile(r"hf:(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<split>[\w.\-\[\]:%+]+))?")
#: pyarrow's parser recurses without a bound, and a stack overflow would end the process without a word.
_DEEPEST_JSON = 200
_FILE_BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_TEXT_COLUMNS = ("instruction", "prompt", "question", "text", "messages", "conversations")
_EXPECTED_COLUMNS = "instruction (with context, if any), prompt, question, text, messages or conversations"
#: All of a file is held in memory.
_MOST_FILE_BYTES = 4 * 2**30
_FILE_KINDS = "a .jsonl, .json, .csv or .parquet file"
# By name, as the hub's client has changed its HTTP library more than once.
_UNREACHABLE = frozenset(("ConnectionError", "TimeoutError", "TransportError", "Timeout", "LocalEntryNotFoundError"))

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Table:
    columns: tuple[str, ...]
    rows: Callable[[list[str]], Iterable[Row]]  # the rows, with these columns at least


def parse_token_range(text: str) -> tuple[int, int]:
    """The lengths in tokens, both inclusive, that `text` ("30:150") asks for; raises PromptError when it cannot be."""
    match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text, re.ASCII)
    if match is None:
        raise PromptError(f"--prompt-tokens: expected MIN:MAX such as 30:150, got {text!r}")
    tokens_min, tokens_max = int(match[1]), int(match[2])
    if tokens_max == 0 or tokens_min > tokens_max:
        raise PromptError(f"--prompt-tokens: expected MIN no greater than MAX, and MAX at least 1, got {text!r}")
    return tokens_min, tokens_max


def load_prompts(
    source: str,
    *,
    tokens_min: int,
    tokens_max: int,
    counter: TokenCounter,
    text_column: str | None = None,
) -> PromptSet:
    """The prompts of `source` that have tokens_min to tokens_max tokens (both inclusive), in the source's order.

    `source` is "sample" (packaged), "dolly" (databricks-dolly-15k), "hf:OWNER/NAME[@SPLIT]" (any data set of the
    Hugging Face hub, split train unless named) or the path of a .jsonl, .json, .csv or .parquet file. `text_column`
    overrides the choice of column. Rows without text, outside of the lengths, or with
    messages of other roles than user, assistant and system are left out and counted.

    Raises PromptError, in one sentence, when the source cannot be read or leaves no prompt. No source ever stands in
    for another.
    """
    table = _read(source)
    column = _text_column(source, table.columns, text_column)
    conversation_in = _reader(source, column, with_context=column == "instruction" and "context" in table.columns)
    # Only what is used: a picture or a sound in another column would be decoded on the way.
    used = [name for name in table.columns if name in (column, "context", "category")]
    prompts: list[Prompt] = []
    row_count = without_text = of_other_roles = by_length = 0
    shortest, longest = None, 0
    for row_count, row in enumerate(_rows(source, table, used), start=1):
        try:
            conversation = conversation_in(row, row_count)
        except OtherRole:
            of_other_roles += 1
            continue
        if not conversation.text:
            without_text += 1
            continue
        prompt = Prompt(conversation.text, 0, _category(row), str(row_count), conversation.system, conversation.earlier)
        tokens = sum(counter.count(turn.text) for turn in prompt.messages)
        shortest = tokens if shortest is None else min(shortest, tokens)
        longest = max(longest, tokens)
        if tokens_min <= tokens <= tokens_max:
            prompts.append(replace(prompt, tokens=tokens))
        else:
            by_length += 1
    if row_count == 0:
        raise PromptError(f"prompts from {source!r}: there are no rows in it; give a source with prompts")
    if shortest is None:
        roles = f" ({of_other_roles} have messages of other roles than user, assistant and system)"
        raise PromptError(
            f"prompts from {source!r}: none of its {row_count} rows has any text{roles if of_other_roles else ''}"
        )
    if not prompts:
        raise PromptError(
            f"prompts from {source!r}: none of its {row_count} rows has {tokens_min} to {tokens_max} tokens; by "
            f"{counter.name} they have {shortest if shortest == longest else f'{shortest} to {longest}'}; "
            "widen --prompt-tokens"
        )
    kept = tuple(prompts)
    left_out = LeftOut(row_count, by_length, without_text, of_other_roles)
    return PromptSet(source, kept, counter.name, fingerprint_of(kept), left_out)


def _rows(source: str, table: _Table, used: list[str]) -> Iterator[Row]:
    try:
        yield from table.rows(used)
    except Exception as error:  # bytes that are no UTF-8, features that need yet another library
        raise PromptError(
            f"prompts from {source!r}: its rows cannot be read ({first_line(error)}); expected text in UTF-8"
        ) from None


def _read(source: str) -> _Table:
    if source == "sample":
        rows = [json.loads(line) for line in SAMPLE_FILE.read_text(encoding="utf-8").splitlines()]
        return _Table(tuple(rows[0]), lambda _: rows)
    if source == "dolly":
        return _read_hub(source, DOLLY, "train")
    if source.startswith("hf:"):
        match = _HUB_SOURCE.fullmatch(source)
        if match is None:
            raise PromptError(f"prompts from {source!r}: expected hf:OWNER/NAME or hf:OWNER/NAME@SPLIT")
        return _read_hub(source, match["name"], match["split"] or "train")
    return _read_file(source)


def _read_file(source: str) -> _Table:
    path = Path(source).expanduser()
    if path.is_dir():
        raise PromptError(f"prompts from {source!r}: that is a folder; give {_FILE_KINDS} inside it")
    try:
        check_file(path, _MOST_FILE_BYTES)
    except MissingFile:
        raise PromptError(
            f"prompts from {source!r}: no such file; expected sample, dolly, hf:OWNER/NAME[@SPLIT] or {_FILE_KINDS}"
        ) from None
    except UnusableFile as error:
        raise PromptError(f"prompts from {source!r}: the file {error}") from None
    builder = _FILE_BUILDERS.get(path.suffix.lower())
    if builder is None:
        raise PromptError(f"prompts from {source!r}: expected {_FILE_KINDS}, got {path.suffix or 'no suffix'!r}")
    if path.stat().st_size == 0:
        raise PromptError(f"prompts from {source!r}: the file is empty; give one with prompts")
    if builder == "json" and is_nested_deeper(path, _DEEPEST_JSON, by_line=path.suffix.lower() == ".jsonl"):
        raise PromptError(f"prompts from {source!r}: the file has JSON nested deeper than {_DEEPEST_JSON} levels")
    # Cells that read "NA" or "null" are text here, not missing values.
    options = {"keep_default_na": False} if builder == "csv" else {}
    try:
        return _load_uncached(builder, "train", data_files=str(path.absolute()), **options)
    except Exception as error:  # pyarrow's, pandas', decoding's and datasets' own all mean one thing
        if _says_empty(error):
            raise PromptError(f"prompts from {source!r}: there are no rows in it; give a file with prompts") from None
        kind = {"json": "JSON", "csv": "CSV", "parquet": "Parquet"}[builder]
        raise PromptError(f"prompts from {source!r}: the file is not sound {kind} ({first_line(error)})") from None


def _read_hub(source: str, name: str, split: str) -> _Table:
    import datasets
    from huggingface_hub import utils as hub

    if Path(name).exists():
        raise PromptError(
            f"prompts from {source!r}: {name!r} in the working directory would be read in place of the hub's data set; "
            "run from another folder, or give the path of a file in it"
        )
    ways_out = "use --prompts sample, or --prompts PATH with a local file"
    try:
        try:
            with quiet(datasets.utils, hub):
                loaded = datasets.load_dataset(name, split=split)
            return _Table(tuple(loaded.column_names), loaded.select_columns)
        except Exception as error:
            if not _says_unreachable(error):
                raise
            cached = _read_hub_cache(name, split)
    except datasets.exceptions.DatasetNotFoundError:
        raise PromptError(
            f"prompts from {source!r}: {name} is not on the Hugging Face hub, or not for this login; "
            f"check the name, log in (hf auth login), {ways_out}"
        ) from None
    except Exception as error:  # no such split, several configurations, broken files, a failing hub
        raise PromptError(
            f"prompts from {source!r}: {name} cannot be loaded ({first_line(error)}); {ways_out}"
        ) from None
    if cached is None:
        raise PromptError(
            f"prompts from {source!r}: the Hugging Face hub cannot be reached and its cache here holds no {name}; "
            f"fill the cache once with a network (hf download --repo-type dataset {name}), {ways_out}"
        )
    return cached


def _read_hub_cache(name: str, split: str) -> _Table | None:
    """The same data set from the hub's cache on this disk; None when it is not there.

    Offline, `datasets` looks only among the tables that it has prepared itself, not at files that were downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot = snapshot_download(name, repo_type="dataset", local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    # A data set's card alone is cached whenever its page was asked for.
    if not any(file.suffix in _FILE_BUILDERS for file in Path(snapshot).rglob("*")):
        return None
    return _load_uncached(snapshot, split)


def _load_uncached(builder: str, split: str, **options: Any) -> _Table:
    """Rows read through `datasets`, whose own cache is in a temporary folder: the user's is left as it was."""
    import datasets
    from huggingface_hub import utils as hub

    with tempfile.TemporaryDirectory(prefix="tokenswarm-") as folder, quiet(datasets.utils, hub):
        loaded = datasets.load_dataset(builder, split=split, cache_dir=folder, keep_in_memory=True, **options)
    return _Table(tuple(loaded.column_names), loaded.select_columns)


def _says_empty(error: Exception) -> bool:
    message = f"{error} {error.__cause__}"
    return isinstance(error, StopIteration) or "corresponds to no data" in message or "No columns to parse" in message


def _says_unreachable(error: BaseException | None) -> bool:
    while error is not None:
        if _UNREACHABLE.intersection(kind.__name__ for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


def _text_column(source: str, columns: tuple[str, ...], asked_for: str | None) -> str:
    wanted = (asked_for,) if asked_for else _TEXT_COLUMNS
    for name in wanted:
        if name in columns:
            return name
    found = ", ".join(columns) or "none"
    raise PromptError(
        f"prompts from {source!r}: expected a column {asked_for or _EXPECTED_COLUMNS}, found the columns {found}"
    )


def _reader(source: str, column: str, *, with_context: bool) -> Callable[[Row, int], Conversation]:
    """A function from (row, its number from 1) to what the row sends, without text when it sends nothing. That raises
    OtherRole, and PromptError for a cell that is neither text nor a conversation."""

    def conversation_in(row: Row, number: int) -> Conversation:
        asked = conversation_of(row[column])
        context = conversation_of(row["context"]) if with_context else Conversation("")
        if asked is None or context is None:
            blamed = column if asked is None else "context"
            kind = type(row[blamed]).__name__
            raise PromptError(
                f"prompts from {source!r}: expected text in column {blamed!r}, got {kind} in row {number}"
            )
        if context.text and asked.text:
            return asked._replace(text=f"{context.text}\n\n{asked.text}")
        return asked

    return conversation_in


def _category(row: Row) -> str:
    category = row.get("category")
    return category if isinstance(category, str) else ""
