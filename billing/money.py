"""Money: exact while it accrues, whole minor units once it is settled.

Accrued money is a `Decimal` that nothing ever rounds; settled money is an `int` of minor units beside its
currency. The one door between the two is `settle()`. Every sum and product of accrued money goes through the
functions below, because Python's own operators work to 28 digits and round beyond them without a word.
"""

from collections.abc import Iterable, Sequence
from decimal import (
    ROUND_CEILING,
    ROUND_HALF_UP,
    Clamped,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    Underflow,
)

_FAULTS = [Clamped, DivisionByZero, InvalidOperation, Overflow, Underflow]

# 120 digits hold whatever the price book's bounds allow; what would not fit raises instead of rounding.
_EXACT = Context(prec=120, Emin=-999_999, Emax=999_999, traps=[*_FAULTS, Inexact])
_SETTLING = Context(prec=120, rounding=ROUND_HALF_UP, Emin=-999_999, Emax=999_999, traps=_FAULTS)

ZERO = Decimal(0)

# ISO 4217 without funds and metals: digits of the minor unit → codes.
_CURRENCIES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """
       AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF
       CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL
       HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP
       MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD
       SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS
       VED VES WST XCD YER ZAR ZMW
       """,
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_DIGITS = {code: digits for digits, codes in _CURRENCIES.items() for code in codes.split()}


class UnknownCurrency(ValueError):
    """A code that ISO 4217 does not list, or not in its upper-case form."""


def minor_unit(currency: str) -> int:
    """Return how many decimal digits the currency's minor unit has (ISO 4217): 2 for USD, 0 for JPY.

    Raises:
        UnknownCurrency: for anything but a listed upper-case code.
    """
    try:
        return _DIGITS[currency]
    except KeyError:
        raise UnknownCurrency(f"{currency!r} is not an ISO 4217 currency code") from None


def exact_product(*factors: Decimal | int) -> Decimal:
    """Return the product of the factors, every digit of it.

    Raises:
        decimal.Inexact: if it needs more than 120 digits, instead of rounding it.
    """
    product = Decimal(1)
    for factor in factors:
        product = _EXACT.multiply(product, factor)
    return product


def exact_quotient(dividend: Decimal, divisor: int) -> Decimal:
    """Return dividend / divisor, every digit of it.

    Raises:
        decimal.Inexact: if the quotient has no end, as a third has none.
    """
    return _EXACT.divide(dividend, divisor)


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """Return the sum of the amounts, every digit of it; nothing sums to zero."""
    total = ZERO
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total


def add_multiple(total: Decimal, amount: Decimal, quantity: int) -> Decimal:
    """Return total + amount × quantity, every digit of it.

    Raises:
        decimal.Inexact: if it needs more than 120 digits, instead of rounding it.
    """
    return _EXACT.fma(amount, quantity, total)


def exact_difference(left: Decimal, right: Decimal) -> Decimal:
    """Return left − right, every digit of it."""
    return _EXACT.subtract(left, right)


def settle(amount: Decimal, currency: str) -> int:
    """Round accrued money to minor units, once: half up, away from zero, so that settle(−x) = −settle(x)."""
    return int(amount.scaleb(minor_unit(currency), _SETTLING).quantize(Decimal(1), context=_SETTLING))


def billionths(amount: Decimal) -> int:
    """Return accrued money in billionths of the currency, rounded up: the counters that guard budgets hold these."""
    return int(amount.scaleb(9, _SETTLING).to_integral_value(ROUND_CEILING, _SETTLING))


def to_decimal(minor: int, currency: str) -> Decimal:
    """Return settled money as an amount of the currency's major unit: 12345 minor units of USD are 123.45."""
    return Decimal(minor).scaleb(-minor_unit(currency), _EXACT)


def format_money(minor: int, currency: str) -> str:
    """Write settled money for people: `1,234.50 USD`, `-5 JPY`."""
    return f"{to_decimal(minor, currency):,f} {currency}"


def format_decimal(amount: Decimal) -> str:
    """Write a decimal plainly: every digit, no exponent, no trailing zeros: `0.000123`, `100`."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def allocate(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Divide a total over weights by largest remainder; the shares sum to the total, to the unit.

    Each share is its exact quota rounded down or up; of equal remainders the earlier weight is served first.
    While the total does not exceed the weights' sum no share exceeds its weight, and a total equal to it
    gives the weights themselves: credits over what remains of an invoice bring it to exactly zero (L6).

    Raises:
        ValueError: for a negative weight, or a total with no weight to carry it.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError(f"weights must not be negative: {list(weights)}")
    if total_minor < 0:
        return [-share for share in allocate(-total_minor, weights)]
    whole = sum(weights)
    if whole == 0:
        if total_minor:
            raise ValueError(f"no weight to carry {total_minor}")
        return [0] * len(weights)
    quotas = [divmod(total_minor * weight, whole) for weight in weights]
    shares = [floor for floor, _ in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda index: -quotas[index][1])
    for index in by_remainder[: total_minor - sum(shares)]:
        shares[index] += 1
    return shares
