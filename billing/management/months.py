"""Months as commands take them."""

from argparse import ArgumentTypeError

from metering.periods import Period, month


def month_argument(text: str) -> Period:
    """Return the month that an option names, such as 2026-11."""
    try:
        return month(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
