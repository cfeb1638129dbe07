"""A model's error budget: what checks found, and what is therefore served. Plain; no clock and no chance in it."""

import math

import msgspec

from cacheproxy.semantic.budget.bounds import proves_more, upper
from cacheproxy.semantic.budget.rules import BANDS, REGIONS, Rules, calibrated_error

LOOKUP_MEMORY = 5000
BAND_MEMORY = 300
"""After so many checks in its band, a check counts for a third. A region has a sixteenth of them: one too small to be
proven bad does little harm, and after a drift is over a band can open again."""
FIRST_LOOKUPS = 100
"""For which the share of candidates is taken to be what makes both limits of the rules the same."""
BAND_TRUST = 0.1
"""Of what the calibration counts for in the whole, in a band: each is soon judged by its own checks."""
WELL_UNDER = 0.5
"""A band opens untested where its calibrated error is at most this share of what is tolerated."""
TRUSTED_SHARE = 0.25
"""Of what is tolerated, taken to be the calibrated error of all bands that open untested."""
DRIFT_FACTOR, DRIFT_ALARM = 5.0, 8.0
"""What is looked for is this multiple of what is tolerated; the alarm is a log-likelihood ratio of 3,000."""
REOPEN, CLOSED = 0.9, 1.01
"""Of what is tolerated: where the bound must be for hits to be let on again, and what a band that does not open
untested is taken for at least."""


class Tally(msgspec.Struct, array_like=True):
    """Checks and what they found, older ones perhaps at a discount."""

    checks: float = 0.0
    wrong: float = 0.0

    def add(self, *, wrong: bool) -> None:
        """Count a check."""
        self.checks += 1
        self.wrong += wrong

    def fade(self) -> None:
        """Let the checks so far count for a little less."""
        self.checks *= 1 - 1 / BAND_MEMORY
        self.wrong *= 1 - 1 / BAND_MEMORY


class State(msgspec.Struct):
    """All that is remembered, a few kilobytes as JSON."""

    lookups: float = 0.0
    candidates: float = 0.0
    proof: Tally = msgspec.field(default_factory=Tally)
    """Of what was, or but for the shut-off would have been, served."""
    trusted: bool = True
    """Whether the calibration still counts: it does until the first drift."""
    suspicion: float = 0.0
    """How much more likely a drift is than none by now: a logarithm, never under 0 (Page's CUSUM)."""
    drifts: int = 0
    shut: bool = False
    regions: dict[int, Tally] = {}


class Account:
    """A state under its rules."""

    def __init__(self, rules: Rules, state: State | None = None) -> None:
        self.rules = rules
        self.state = state or State()
        self.tolerance = rules.wrong_of_hits
        """The share of the hits that may be wrong, now that so many calls find a candidate."""
        self._settle()

    @property
    def upper(self) -> float:
        """Return the share of hits that is wrong at most, if the calibration counts for what the rules say."""
        return self._upper

    @property
    def proven(self) -> float:
        """Return the share that is wrong at most by checks alone."""
        return upper(self.state.proof.wrong, self.state.proof.checks, self.rules.alpha)

    @property
    def check_rate(self) -> float:
        """Return the share of hits to check: the more, the nearer the bound to its limit, and after wrong ones."""
        least = self.rules.least_check_rate
        nearness = max(0.0, 2 * self._upper / self.tolerance - 1) ** 2
        suspicion = 2 * self.state.suspicion / DRIFT_ALARM
        return min(1.0, least + (1 - least) * max(nearness, suspicion))

    def opens(self, region: int, *, vouched: bool = False) -> bool:
        """Return whether hits of *region* are good enough, so far as anyone knows; *vouched* ones, if not proven bad.

        A band of scores must be estimated to be, by calibration and checks; a region in it must not be proven not to.
        """
        tally = self.state.regions.get(region)
        if tally is not None and self._proves_bad(tally):
            return False
        return self._estimate(region % len(BANDS), vouched=vouched) <= self.tolerance

    def look_up(self, lookups: int, candidates: int) -> None:
        """Count calls that looked for another wording, and those that found one the verifier lets pass."""
        kept = math.exp(-lookups / LOOKUP_MEMORY)
        self.state.lookups = self.state.lookups * kept + lookups
        self.state.candidates = self.state.candidates * kept + candidates
        self._settle()

    def check(self, region: int, *, wrong: bool, vouched: bool = False) -> None:
        """Count what a check in *region* found, and shut or open what it is about."""
        state = self.state
        if self.opens(region, vouched=vouched):
            state.proof.add(wrong=wrong)
            if not state.shut:
                self._suspect(wrong=wrong)
        for tally in self._of_band(region % len(BANDS)):
            tally.fade()
        state.regions.setdefault(region, Tally()).add(wrong=wrong)
        self._settle()

    def _tolerated(self) -> float:
        rules, state = self.rules, self.state
        usual = rules.budget / rules.wrong_of_hits
        share = (state.candidates + FIRST_LOOKUPS * usual) / (state.lookups + FIRST_LOOKUPS)
        return min(rules.wrong_of_hits, rules.budget / share)

    def _suspect(self, *, wrong: bool) -> None:
        usual = self.tolerance
        drifted = min(0.9, DRIFT_FACTOR * usual)
        step = math.log(drifted / usual) if wrong else math.log((1 - drifted) / (1 - usual))
        self.state.suspicion = max(0.0, self.state.suspicion + step)
        if self.state.suspicion >= DRIFT_ALARM:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Take nothing for proven any more: the answers are not what they were when it was."""
        state = self.state
        state.proof, state.regions = Tally(), {}
        state.trusted, state.shut, state.suspicion = False, True, 0.0
        state.drifts += 1

    def _settle(self) -> None:
        """Shut, or open again, as the bound says."""
        proof, tolerance = self.state.proof, self._tolerated()
        self.tolerance = tolerance
        trust = self.rules.trust if self.state.trusted else 0.0
        self._upper = upper(
            proof.wrong + trust * TRUSTED_SHARE, proof.checks + trust / tolerance, self.rules.alpha
        )
        self.state.shut = self._upper > tolerance * (REOPEN if self.state.shut else 1)

    def _estimate(self, band: int, *, vouched: bool) -> float:
        """Return how often hits of *band* are wrong, by calibration and checks."""
        rules, tolerance = self.rules, self.tolerance
        error = calibrated_error(band)
        if vouched or rules.vouches_for(BANDS[band]):
            error = min(error, tolerance * WELL_UNDER)
        elif error > tolerance * WELL_UNDER:
            error = max(error, tolerance * CLOSED)
        weight = BAND_TRUST * rules.trust / tolerance + 1
        wrong, checks = error * weight, weight
        for tally in self._of_band(band):
            if not self._proves_bad(tally):
                wrong += tally.wrong
                checks += tally.checks
        return wrong / checks

    def _of_band(self, band: int) -> list[Tally]:
        regions = self.state.regions
        return [regions[region] for region in range(band, REGIONS, len(BANDS)) if region in regions]

    def _proves_bad(self, tally: Tally) -> bool:
        allowed = self.tolerance * tally.checks
        return tally.wrong > allowed and proves_more(
            tally.wrong, tally.checks, self.tolerance, self.rules.alpha
        )
