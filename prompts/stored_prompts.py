"""Many prompts: kept in memory while they are few, and in a temporary file once they are not."""

from __future__ import annotations

import hashlib
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import msgspec

from tokenswarm.prompts.prompt_records import Prompt, PromptCounts, PromptError, add_to_fingerprint

#: Characters of text that are kept in memory.
_MOST_CHARACTERS_IN_MEMORY = 32_000_000
_BLOCK_BYTES = 2**20
#: That take as much memory as a part of a prompt.
_PART_CHARACTERS = 100

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Prompt).decode


class StoredPrompts(Sequence[Prompt]):
    """Prompts in a file without a name, which is gone with this process and those that it forked. Reading does not move
    a shared position, so that all of them may read."""

    def __init__(self) -> None:
        """Raises OSError."""
        # Kept open for as long as the sequence: a block would close it.
        self._file = tempfile.TemporaryFile(prefix="tokenswarm-", buffering=_BLOCK_BYTES)  # noqa: SIM115
        self._ends = array("q")
        self._size = 0

    def append(self, prompt: Prompt) -> None:
        """Raises OSError."""
        self._size += self._file.write(_encode(prompt))
        self._ends.append(self._size)

    def flush(self) -> None:
        """No more are appended. Raises OSError."""
        self._file.flush()

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...
    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return [self._at(number) for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        return self._at(number)

    def __iter__(self) -> Iterator[Prompt]:
        return map(self._at, range(len(self)))

    def _at(self, number: int) -> Prompt:
        start = self._ends[number - 1] if number else 0
        return _decode(os.pread(self._file.fileno(), self._ends[number] - start, start))


class PromptCollector:
    """Takes prompts one by one. stats and fingerprint: of all that were taken."""

    def __init__(self, most_characters: int = _MOST_CHARACTERS_IN_MEMORY) -> None:
        """most_characters: of text in memory; more goes into a file."""
        self.stats = PromptCounts()
        self._digest = hashlib.sha256()
        self._in_memory: list[Prompt] = []
        self._stored: StoredPrompts | None = None
        self._characters_left = most_characters

    @property
    def fingerprint(self) -> str:
        """See `fingerprint_of`."""
        return self._digest.hexdigest()

    def add(self, prompt: Prompt) -> None:
        """Raises PromptError where there is no space for the file."""
        self.stats.add(prompt)
        add_to_fingerprint(self._digest, prompt)
        self._characters_left -= sum(len(message.text) for message in prompt.messages)
        self._characters_left -= sum(
            len(message) for turn in prompt.turns for message in (turn.text, *(each.text for each in turn.answer))
        )
        self._characters_left -= _PART_CHARACTERS * (len(prompt.parts) + sum(len(turn.parts) for turn in prompt.turns))
        if self._stored is not None:
            self._store((prompt,), self._stored)
            return
        self._in_memory.append(prompt)
        if self._characters_left < 0:
            try:
                self._stored = StoredPrompts()
            except OSError as error:
                raise _no_space(error) from None
            self._store(self._in_memory, self._stored)
            self._in_memory = []

    def prompts(self) -> Sequence[Prompt]:
        """All that were taken. Raises PromptError."""
        if self._stored is None:
            return tuple(self._in_memory)
        try:
            self._stored.flush()
        except OSError as error:
            raise _no_space(error) from None
        return self._stored

    @staticmethod
    def _store(prompts: Iterable[Prompt], stored: StoredPrompts) -> None:
        try:
            for prompt in prompts:
                stored.append(prompt)
        except OSError as error:
            raise _no_space(error) from None


def _no_space(error: OSError) -> PromptError:
    return PromptError(
        f"prompts: more than fit into memory, and a temporary file in {tempfile.gettempdir()} cannot be written "
        f"({error.strerror}); set TMPDIR to a folder with space, or narrow --prompt-tokens."
    )
