"""The distribution of a gamma variable. Pure."""

from __future__ import annotations

from math import lgamma

import numpy as np

from tokenswarm.metrics.intervals import Series

_MOST_TERMS = 10_000
_ACCURACY = 1e-12
_TINY = 1e-300


def gamma_below(shape: float, values: Series) -> Series:
    """How probable a value of at most each of these is, of a gamma distribution of this shape and scale 1: the
    regularized incomplete gamma function, by its power series (Abramowitz and Stegun 6.5.29) below shape + 1 and by its
    continued fraction (6.5.31) above."""
    shares = np.zeros(len(values))
    low = (values > 0) & (values < shape + 1)
    high = values >= shape + 1
    shares[low] = _series(shape, values[low])
    shares[high] = 1.0 - _fraction(shape, values[high])
    return shares


def _scale(shape: float, values: Series) -> Series:
    scale: Series = np.exp(shape * np.log(values) - values - lgamma(shape))
    return scale


def _series(shape: float, values: Series) -> Series:
    if not len(values):
        return values
    term = np.full(len(values), 1.0 / shape)
    total = term.copy()
    for k in range(1, _MOST_TERMS):
        term = term * values / (shape + k)
        total += term
        if float(term.max()) < _ACCURACY * float(total.min()):
            break
    below: Series = np.exp(np.log(total) + shape * np.log(values) - values - lgamma(shape))
    return below


def _fraction(shape: float, values: Series) -> Series:
    """The upper tail, by Lentz's method."""
    if not len(values):
        return values
    b = values + 1.0 - shape
    c = np.full(len(values), 1.0 / _TINY)
    d = 1.0 / np.where(np.abs(b) < _TINY, _TINY, b)
    fraction = d.copy()
    for k in range(1, _MOST_TERMS):
        numerator = -k * (k - shape)
        b = b + 2.0
        d = numerator * d + b
        d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
        c = b + numerator / c
        c = np.where(np.abs(c) < _TINY, _TINY, c)
        change = c * d
        fraction = fraction * change
        if float(np.abs(change - 1.0).max()) < _ACCURACY:
            break
    return _scale(shape, values) * fraction
