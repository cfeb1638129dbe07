"""What an error budget promises, and where scores and regions fall. Plain."""

from bisect import bisect_right
from typing import Annotated

import msgspec

from cacheproxy.policy import Semantic

BANDS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Where bands of scores begin. A score is the calibrated chance that two questions are one; a lower one is no
candidate: it is neither served nor learned from."""
LEAST_SCORE = BANDS[0]
CELLS = 16
"""Parts of the space of vectors, told apart by the signs of four projections."""
REGIONS = CELLS * len(BANDS)

Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """A model's budget, and how it is kept."""

    budget: Share = 0.01
    """Of the calls that look for a reworded question, the share that may get a wrong answer."""
    wrong_of_hits: Share = 0.05
    """Of the semantic hits, the share that may be wrong, however few they are among the calls."""
    alpha: Share = 0.05
    """The chance that a bound is wrong."""
    trust: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 20.0
    """How much the verifier's calibration counts for, in wrong answers: as many checks as would find so many wrong
    ones where hits are as bad as tolerated. 0: nothing is served before checks have proved it."""
    open_from: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """The score from which on an operator trusts the verifier, whatever its calibration."""
    least_check_rate: Share = 0.05
    """The share of the hits that is checked when all is well."""

    def vouches_for(self, score: float) -> bool:
        """Return whether an operator trusts hits of this score."""
        return self.open_from is not None and score >= self.open_from


def rules_of(policy: Semantic) -> Rules:
    """Return the rules that a model's policy states."""
    return Rules(
        budget=policy.error_budget,
        wrong_of_hits=policy.wrong_of_hits,
        trust=policy.trust,
        open_from=policy.threshold,
    )


def band_of(score: float) -> int:
    """Return the band of a score of at least `LEAST_SCORE`."""
    return bisect_right(BANDS, score) - 1


def calibrated_error(band: int) -> float:
    """Return how often the verifier takes itself to be wrong in a band."""
    top = BANDS[band + 1] if band + 1 < len(BANDS) else 1.0
    return 1 - (BANDS[band] + top) / 2


def region_of(cell: int, score: float) -> int:
    """Return the region: a band within a cell."""
    return cell * len(BANDS) + band_of(score)
