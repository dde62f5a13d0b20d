"""Times that are kept of a level: all of them, or all of some blocks."""

from __future__ import annotations

import numpy as np

from tokenswarm.recording.sent_times import SentTimes


def test_all_times_are_one_block_in_order() -> None:
    kept = SentTimes(20.0)
    for sent_s in (3.0, 1.0, 2.0, 9.5):
        kept.add(sent_s)
    (block,) = kept.blocks(9.0)
    assert (block.from_s, block.until_s, block.times_s.tolist()) == (0.0, 9.0, [1.0, 2.0, 3.0])


def test_too_many_times_are_thinned_to_whole_blocks_over_all_of_the_level() -> None:
    """At 100/s a block is ten seconds: of a thousand of them, few enough stay."""
    sent_s = np.random.default_rng(1).permuted(np.arange(100_000) / 100)
    kept = SentTimes(100.0, most=8_000)
    for each in sent_s.tolist():
        kept.add(each)
    blocks = list(kept.blocks(1000.0))
    assert 2_000 <= sum(len(block.times_s) for block in blocks) <= 8_000
    assert blocks[-1].until_s > 800
    for block in blocks:
        np.testing.assert_allclose(block.times_s, np.arange(block.from_s, block.until_s - 1e-9, 0.01))
    inside = [block.times_s for block in blocks]
    assert kept.keeps(np.concatenate(inside)).all()


def test_a_block_that_alone_has_too_many_keeps_the_first() -> None:
    kept = SentTimes(1.0, most=10)
    for number in range(1000):
        kept.add(number / 1000)
    (block,) = kept.blocks(900.0)
    assert block.times_s.tolist() == [number / 1000 for number in range(10)]
