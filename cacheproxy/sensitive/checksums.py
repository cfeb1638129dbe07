"""Check digits: what tells a number that identifies somebody from any other row of digits. Plain."""

from datetime import date

_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECKS = "10X98765432"
_PROVINCES = frozenset(
    {
        *range(11, 16),
        *range(21, 24),
        *range(31, 38),
        *range(41, 47),
        *range(50, 55),
        *range(61, 66),
        71,
        81,
        82,
        83,
    }
)
_TAIWAN_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"


def passes_luhn(digits: str) -> bool:
    """Return whether the last digit checks the others, as on payment cards (ISO/IEC 7812-1, annex B)."""
    plain = sum(map(int, digits[-1::-2]))
    return (plain + sum(_LUHN_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def is_resident_id(number: str) -> bool:
    """Return whether 18 characters are a Chinese resident's number (GB 11643-1999): province, birthday, check digit."""
    if int(number[:2]) not in _PROVINCES:
        return False
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_RESIDENT_WEIGHTS, number, strict=False))
    return _RESIDENT_CHECKS[total % 11] == number[17].upper()


def is_taiwan_id(number: str) -> bool:
    """Return whether a letter and nine digits are a national or resident's number of Taiwan."""
    letter = _TAIWAN_LETTERS.index(number[0]) + 10
    total = letter // 10 + 9 * (letter % 10)
    total += sum(
        weight * int(digit) for weight, digit in zip((8, 7, 6, 5, 4, 3, 2, 1, 1), number[1:], strict=True)
    )
    return total % 10 == 0


def is_hong_kong_id(letters: str, digits: str, check: str) -> bool:
    """Return whether `check` is the check digit of a Hong Kong identity card's number."""
    values = [36] * (2 - len(letters)) + [ord(letter) - 55 for letter in letters]
    values += [*map(int, digits), 10 if check == "A" else int(check)]
    return sum(weight * value for weight, value in zip(range(9, 0, -1), values, strict=True)) % 11 == 0
