"""Tables loaded through `datasets`, whose JSON parsers are kept from what would overflow their stack."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from tokenswarm.prompts.file_rows import CellKind, PromptTable
from tokenswarm.prompts.json_rows import DEEPEST_JSON
from tokenswarm.prompts.suppress_output import suppress_output
from tokenswarm.sanitize import is_nested_deeper

_JSON_LINES_SUFFIXES = (".jsonl", ".ndjson")
_JSON_SUFFIXES = (".json", *_JSON_LINES_SUFFIXES)


class NestedTooDeeply(ValueError):
    """A file of JSON that its parser would not survive; the text names it."""


def load_table(source: str, split: str, cache_folder: str | None = None, **options: Any) -> PromptTable:
    """One split of what `datasets` calls by `source`: a data set of the hub, a folder, or a file's format. Its tables
    are prepared in the cache folder (None: the user's own). Raises NestedTooDeeply and what `datasets` raises."""
    import datasets
    from huggingface_hub import utils as hub

    with suppress_output(datasets.utils, hub):
        builder = datasets.load_dataset_builder(source, cache_dir=cache_folder, **options)
        builder.download_and_prepare(dl_manager=_checked_downloads(builder, cache_folder))
        loaded = builder.as_dataset(split=split, in_memory=cache_folder is not None)
    return PromptTable(tuple(loaded.column_names), loaded.select_columns, CellKind.ARROW)


def load_uncached(source: str, split: str, **options: Any) -> PromptTable:
    """The same, prepared in a temporary folder and kept in memory: the user's cache is left as it was."""
    with tempfile.TemporaryDirectory(prefix="tokenswarm-") as folder:
        return load_table(source, split, folder, **options)


def _checked_downloads(builder: Any, cache_folder: str | None) -> Any:
    """The download manager that `builder` would make for itself, which also looks into each file of JSON before it is
    parsed: a builder downloads its files, extracts those that are compressed, and reads what these two return."""
    import datasets
    from datasets.packaged_modules.json.json import Json
    from datasets.utils.file_utils import xopen

    reads_json_alone = isinstance(builder, Json)
    checked: set[str] = set()

    class CheckedDownloads(datasets.DownloadManager):  # type: ignore[misc]
        def download(self, url_or_urls: Any) -> Any:
            downloaded = super().download(url_or_urls)
            if not reads_json_alone:  # Json extracts all that it downloads
                self._check(downloaded)
            return downloaded

        def extract(self, path_or_paths: Any) -> Any:
            extracted = super().extract(path_or_paths)
            self._check(extracted)
            return extracted

        def _check(self, paths: Any) -> None:
            for file in self.iter_files(list(_each(paths))):
                # gzip://data.jsonl::/folder/data.jsonl.gz
                name = PurePosixPath(str(file).partition("::")[0])
                if file in checked or not (reads_json_alone or name.suffix.lower() in _JSON_SUFFIXES):
                    continue
                checked.add(file)
                with xopen(file, "rb") as stream:
                    if is_nested_deeper(stream, DEEPEST_JSON, by_line=name.suffix.lower() in _JSON_LINES_SUFFIXES):
                        raise NestedTooDeeply(f"{name.name} has JSON nested deeper than {DEEPEST_JSON} levels")

    downloads = datasets.DownloadConfig(
        cache_dir=cache_folder,
        use_etag=False,
        token=builder.token,
        storage_options=builder.storage_options,
    )
    return CheckedDownloads(
        dataset_name=builder.dataset_name,
        download_config=downloads,
        data_dir=builder.config.data_dir,
        base_path=builder.base_path,
    )


def _each(paths: Any) -> Iterator[str]:
    """The paths that a download manager returns: one, or lists and dictionaries of them."""
    if isinstance(paths, str):
        yield paths
    else:
        for part in paths.values() if isinstance(paths, Mapping) else paths:
            yield from _each(part)
