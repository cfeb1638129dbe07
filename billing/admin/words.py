"""Figures written for people, exactly."""

from decimal import ROUND_HALF_UP, Decimal


def thousands(count: int) -> str:
    """Return a count with its thousands apart."""
    return f"{count:,}"


def share(part: int, whole: int) -> str:
    """Return *part* of *whole* in percent, to a tenth, or a dash where there is no whole."""
    if not whole:
        return "–"
    percent = (Decimal(100 * part) / whole).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return f"{percent} %"


def counted(count: int, noun: str) -> str:
    """Return how many of a thing there are, in words that agree."""
    return f"{thousands(count)} {noun}{'' if count == 1 else 's'}"
