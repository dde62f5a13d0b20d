"""What rows of JSON traces have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenswarm.prompts.traces.trace_records import RowFault

_LARGEST_ID = 1 << 63


def block_ids(fields: Mapping[str, Any], input_tokens: int, block_tokens: int) -> list[int]:
    """The hash ids of a row whose prompt has so many tokens: one for each block, or fewer, where the rest of the prompt
    is its own. Raises RowFault."""
    found = fields.get("hash_ids")
    if found is None:
        return []
    if not isinstance(found, list) or not all(map(_is_id, found)):
        raise RowFault("expected hash_ids to be a list of whole numbers of up to 64 bits")
    if len(found) * block_tokens - input_tokens >= block_tokens:
        most = -(-input_tokens // block_tokens)
        raise RowFault(
            f"expected at most {most} hash ids of {block_tokens} tokens for an input_length of {input_tokens}, "
            f"got {len(found)}"
        )
    return found


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_LARGEST_ID <= value < _LARGEST_ID
