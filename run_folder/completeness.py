"""Whether a folder's files are all there: requests.csv against the rows that summary.json counts."""

from __future__ import annotations

from pathlib import Path

#: The log of a run in its spool folder: what a folder is rebuilt from.
RUN_LOG = "run.spool"
#: Files that stand by themselves, in the order that a person would look at them.
JOURNALS = ("requests.csv", "windows.csv", "histograms.csv")
_CHUNK_BYTES = 2**20


def readable_journals(folder: Path) -> str:
    """`requests.csv and windows.csv are readable`, or that none is."""
    names = [name for name in JOURNALS if (folder / name).is_file()]
    if not names:
        return "no CSV file is left"
    *head, last = names
    return f"{', '.join(head)} and {last} are readable" if head else f"{last} is readable"


def requests_missing(folder: Path, expected: int) -> str | None:
    """What is wrong with requests.csv, which is expected to have so many rows: None where it has them."""
    try:
        if not _has_heading(folder / "requests.csv"):
            return f"requests.csv cannot be read (its first line names no columns; {expected:,} rows were recorded)"
        rows = count_rows(folder / "requests.csv")
    except FileNotFoundError:
        return f"requests.csv is missing ({expected:,} rows were recorded)"
    except OSError as error:
        return f"requests.csv cannot be read ({error.strerror}; {expected:,} rows were recorded)"
    return f"requests.csv has {rows:,} of the {expected:,} rows recorded" if rows < expected else None


def _has_heading(path: Path) -> bool:
    """Whether the file begins as requests.csv does, or is empty. Raises OSError."""
    with path.open("rb") as file:
        heading = file.readline(_CHUNK_BYTES)
    return not heading or b"outcome" in heading.rstrip(b"\r\n").split(b",")


def journals_missing(folder: Path) -> str | None:
    """`histograms.csv is missing`: which files other than requests.csv are not there, None where none is missing."""
    missing = [name for name in JOURNALS if name != "requests.csv" and not (folder / name).is_file()]
    return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing" if missing else None


def count_rows(path: Path) -> int:
    """The rows of a CSV file below its heading. A last line without an end was cut short, and is not counted. Raises
    OSError."""
    lines, quoted = 0, False
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            for piece in chunk.split(b'"'):
                lines += 0 if quoted else piece.count(b"\n")
                quoted = not quoted
            quoted = not quoted  # one more piece than there are quotation marks
    return max(0, lines - 1)
