"""How often something is wrong at most, and whether it is more often than it may be, after so many checks. Plain.

The bounds hold at every moment at once, however often one looks and whenever one stops. Let X be 1 where a check
finds a wrong answer, and μ the chance of that given all that went before. For any θ ≥ 0, θ^X has a mean of
1 - μ(1 - θ) ≤ exp(-μ(1 - θ)), so that θ^wrong · exp((1 - θ) · Σμ) is a non-negative supermartingale that begins
at 1; so is any mixture over θ, and by Ville's inequality it ever reaches 1/α with a chance of α at most. A Σμ that
would make it that large is therefore ruled out: θ < 1 rules out large ones, θ > 1 small ones. Nothing is asked of
the checks but that whether one is made does not depend on what it would find: μ may change from one to the next,
and the bounds are about its mean.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

_BISECTIONS = 40


def _mixture(ratios: Sequence[float]) -> tuple[tuple[float, float, float], ...]:
    """Return (1 - θ, log θ, log weight), all of the same weight."""
    return tuple((1 - ratio, math.log(ratio), -math.log(len(ratios))) for ratio in ratios)


_FEWER = _mixture([0.002, 0.05, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.88, 0.94])
_MORE = _mixture([1.1, 1.25, 1.5, 2.0, 3.0, 4.5, 7.0, 12.0, 25.0, 60.0])


def upper(wrong: float, checks: float, alpha: float) -> float:
    """Return the share that is wrong at most, 0 to 1, but for a chance of *alpha*."""
    expected = _most(wrong, alpha)
    return expected / checks if expected < checks else 1.0


def proves_more(wrong: float, checks: float, share: float, alpha: float) -> bool:
    """Return whether more than *share* is wrong, but for a chance of *alpha*."""
    expected = share * checks
    return wrong > expected and _evidence(_MORE, wrong, expected) >= -math.log(alpha)


@lru_cache(maxsize=10_000)
def _most(wrong: float, alpha: float) -> float:
    """Return how many can have been expected to be wrong at most."""
    limit, low, high = -math.log(alpha), wrong, 2 * wrong + 10
    while _evidence(_FEWER, wrong, high) < limit:
        high *= 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _evidence(_FEWER, wrong, middle) < limit else (low, middle)
    return high


def _evidence(mixture: Sequence[tuple[float, float, float]], wrong: float, expected: float) -> float:
    """Return the logarithm of the supermartingale where so many were *expected* to be wrong."""
    logs = [
        log_weight + wrong * log_ratio + expected * complement
        for complement, log_ratio, log_weight in mixture
    ]
    largest = max(logs)
    return largest + math.log(sum(math.exp(log - largest) for log in logs))
