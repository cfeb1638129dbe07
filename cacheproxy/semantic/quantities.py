"""What a text says in numbers: counts, ordinals, measures, dates. Each fact is a word, so that texts compare. Plain."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

from cacheproxy.semantic.lexicon import groups
from cacheproxy.semantic.numerals import (
    DURATIONS,
    FRACTIONS,
    HAN_DATES,
    HAN_DIGITS,
    HAN_MULTIPLIERS,
    LARGER,
    LENGTHS,
    MONEY,
    MONTHS,
    MULTIPLIERS,
    ORDINALS,
    RELATIVE_DAYS,
    ROMAN_NUMERALS,
    SMALL_NUMBERS,
    UNITS,
    WEEKDAYS,
)

SECONDS_FOLLOW = {"a", "per", "every", "each", "one", "in", "/"}
"""Words after which "second" is a time, not an ordinal; so it is after a number."""
NUMERAL = re.compile(r"\d+(?:[.,:]\d+)*")
ISO_DATE = re.compile(r"\b(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})\b")
CLOCK = re.compile(r"\b(\d{1,2})(?::(\d{2}))?\s*([ap])\.?m\b\.?", re.IGNORECASE)
MILLIONS = re.compile(r"([$€£¥₹₽]\s?\d[\d.,]*)\s?m\b")
"""An m that stands for millions; beside other numbers it stands for metres."""
ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b", re.IGNORECASE)
ROMAN = re.compile(rf"\b(?:{'|'.join(ROMAN_NUMERALS)})\b")
AMBIGUOUS_MONTHS = {"may", "march", "mar"}
WORLD_WAR = re.compile(r"\b(first|second|third) world war\b|\bworld war (i)\b")
HAN_NUMBER = re.compile(rf"[{''.join(HAN_DIGITS)}{''.join(HAN_MULTIPLIERS)}]+")
HAN_PLAIN = {"一", "千万", "万一", "十分", "百度", "一一", "万"}
"""Han numerals that are more often part of a word than a number."""
MARKS = re.compile(r"°\s?[cf]\b|[$€£¥₹₽%°]")
NUMBER_WORDS = {"st", "nd", "rd", "th", *SMALL_NUMBERS, *MULTIPLIERS, *FRACTIONS, *ORDINALS, *UNITS}
PIECE = re.compile(rf"{NUMERAL.pattern}|{MARKS.pattern}|[^\W\d_]+|[^\w\s]")
RELATIVE = groups("""
    last past previous
    next coming upcoming following
    this current
""")
PARTS_OF_WEEK = {"weekday", "weekend"}
EACH = {"every", "each", "per", "a", "an"}
COUNT = rf"\d[\d.,]*|{'|'.join(SMALL_NUMBERS)}"
LEAST = r"at\ least|no\ less\ than|more\ than|over|above"
MOST = r"at\ most|up\ to|no\ more\ than|less\ than|fewer\ than|under|below"
BOUND = re.compile(
    rf"""\b(?:(?P<least>{LEAST})|(?P<most>{MOST})|(?P<just>exactly|precisely))\ (?P<number>\S+)
    |(?P<before>{COUNT})\ (?:(?P<more>or\ (?:more|above|older|longer|over)|and\ above|at\ least|plus)
        |(?P<fewer>or\ (?:less|fewer|below|younger|under)|at\ most))\b""",
    re.VERBOSE,
)
"""What makes a number a bound."""
FREQUENCIES = groups("""
    hour hourly
    day daily
    week weekly
    month monthly
    year yearly annual annually
""")


def numbers(text: str) -> list[str]:
    """Return the numbers of a lower-case *text* in order, written in figures or in words, each in one spelling.

    Ordinals carry a `#`. A bare "one" is a pronoun more often than a number and left out, as is the one in "one day",
    which is "a day".
    """
    text = WORLD_WAR.sub(lambda match: f"world war {ORDINALS.get(match[1], 1)}", text)
    text = ROMAN.sub(lambda match: ROMAN_NUMERALS[match[0].lower()], text)
    text = ISO_DATE.sub(r" ", text)
    found = _numbers_and_units(_pieces(text))
    return [fact for fact, unit in found if fact and not (fact == "1" and unit)] + han_numbers(text)


def measures(text: str) -> list[tuple[str, str]]:
    """Return each unit of a lower-case *text* beside its number, or beside "" where it stands alone, sorted.

    Durations and money count only beside a number: "a day" and "rupee notes" say little.
    """
    found = [(number, unit) for number, unit in _numbers_and_units(_pieces(text)) if unit]
    return sorted(
        {(number, unit) for number, unit in found if number or unit not in DURATIONS | MONEY | LENGTHS}
    )


def bounds(text: str) -> list[tuple[str, str]]:
    """Return the numbers of a lower-case *text* that are the least, the most or exactly what is meant, sorted."""
    found = []
    for match in BOUND.finditer(text):
        said = match["number"] or match["before"]
        side = "least" if match["least"] or match["more"] else "just" if match["just"] else "most"
        found += [(number, side) for number in numbers(said.strip("$€£.,?!"))]
    return sorted(found)


def dates(text: str, words: Sequence[str], capitals: frozenset[str]) -> list[str]:
    """Return the days, months and relative dates of a lower-case *text* of *words*, sorted.

    "May" and "march" are months only beside a number or among the *capitals* inside a sentence.
    """
    found = [f"{int(y)}-{int(m)}-{int(d)}" for y, m, d in ISO_DATE.findall(text)]
    found += [word for word in HAN_DATES if word in text]
    for before, word in pairwise(("", *words)):
        if word in WEEKDAYS or word.removesuffix("s") in WEEKDAYS:
            found.append(f"weekday{WEEKDAYS[word if word in WEEKDAYS else word.removesuffix('s')]}")
        elif word in RELATIVE_DAYS and word not in {"now", "currently"}:
            found.append(word)
        elif word.removesuffix("s") in PARTS_OF_WEEK:
            found.append(word.removesuffix("s"))
        elif before in RELATIVE and (word in UNITS and UNITS[word] in DURATIONS):
            found.append(f"{RELATIVE[before]} {UNITS[word]}")
    found += [f"month{month}" for month in _months(words, capitals)]
    return sorted(found)


def frequencies(words: Sequence[str]) -> list[str]:
    """Return how often something happens or is due, as *words* say it: the period, sorted."""
    found = {word for before, word in pairwise(words) if before in EACH and word in FREQUENCIES}
    found |= {word for word in words if FREQUENCIES.get(word, word) != word}
    return sorted({FREQUENCIES[word] for word in found})


def han_numbers(text: str) -> list[str]:
    """Return the numbers that *text* writes in Han numerals."""
    return [str(_han(run)) for run in HAN_NUMBER.findall(text) if run not in HAN_PLAIN]


def counts(word: str) -> bool:
    """Return whether a lower-case *word* is a number, a part of one or a unit."""
    return word[0].isdigit() or word in NUMBER_WORDS


def _numbers_and_units(pieces: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each number with its unit; a number without one, and a unit without a number, have "" in its place."""
    money, at = "", 0
    while at < len(pieces):
        number, end = _number(pieces, at)
        if not number:
            unit = UNITS.get(pieces[at].replace(" ", ""), "")
            at += 1
            if (
                unit
                and unit not in {"second", "meter"}
                and not (_is_sign(pieces[at - 1]) and _number(pieces, at)[0])
            ):
                yield "", unit
            money = unit if unit and _is_sign(pieces[at - 1]) else ""
            continue
        at = end
        unit = UNITS.get(pieces[at].replace(" ", ""), "") if at < len(pieces) else ""
        at += bool(unit)
        yield _in_larger(number, unit or money)
        money = ""


def _in_larger(number: str, unit: str) -> tuple[str, str]:
    """Return a duration in the largest unit of which it is a whole number: 24 hours are a day, 30 days no month."""
    while unit in LARGER and number.isdigit() and int(number) and not int(number) % LARGER[unit][0]:
        many, unit = LARGER[unit]
        number = str(int(number) // many)
    return number, unit


def _pieces(text: str) -> list[str]:
    return PIECE.findall(ORDINAL.sub(r" #\1 ", CLOCK.sub(_clock, MILLIONS.sub(r"\1 million", text))))


def _is_sign(piece: str) -> bool:
    return piece in "$€£¥₹₽"


def _number(pieces: Sequence[str], at: int) -> tuple[str, int]:
    """Return the number that starts at *at*, or nothing, and where it ends."""
    if at == len(pieces):
        return "", at
    piece = pieces[at]
    if piece == "#" and at + 1 < len(pieces) and pieces[at + 1].isdigit():
        return f"#{int(pieces[at + 1])}", at + 2
    if piece in ORDINALS and (piece != "second" or (at and pieces[at - 1] not in SECONDS_FOLLOW)):
        return f"#{ORDINALS[piece]}", at + 1
    if piece in FRACTIONS:
        return FRACTIONS[piece], at + 1
    if NUMERAL.fullmatch(piece):
        if ":" in piece:
            return piece, at + 1
        return _multiplied(_figures(piece), pieces, at + 1)
    if piece in SMALL_NUMBERS and (piece != "one" or _counts(pieces, at + 1)):
        return _in_words(pieces, at)
    return "", at


def _counts(pieces: Sequence[str], after: int) -> bool:
    return after < len(pieces) and (pieces[after] in MULTIPLIERS or pieces[after] in UNITS)


def _in_words(pieces: Sequence[str], at: int) -> tuple[str, int]:
    """Return a number in words, as "two hundred and fifty" or "twenty-five", and where it ends."""
    total, current = 0, 0
    while at < len(pieces):
        piece = pieces[at]
        if piece in SMALL_NUMBERS:
            current += SMALL_NUMBERS[piece]
        elif piece in MULTIPLIERS and len(piece) > 2:
            if MULTIPLIERS[piece] == 100:
                current = max(current, 1) * 100
            else:
                total, current = total + max(current, 1) * MULTIPLIERS[piece], 0
        elif not (
            piece in {"and", "-"}
            and at + 1 < len(pieces)
            and pieces[at + 1] in SMALL_NUMBERS
            and (current >= 20 or total)
        ):
            break
        at += 1
    return str(total + current), at


def _multiplied(value: Decimal, pieces: Sequence[str], at: int) -> tuple[str, int]:
    while at < len(pieces) and pieces[at] in MULTIPLIERS:
        value *= MULTIPLIERS[pieces[at]]
        at += 1
    return _plain(value), at


def _figures(numeral: str) -> Decimal:
    """Return the value of figures with commas between thousands; a comma elsewhere is a decimal point.

    What has several points, as a version or an address, is compared as it stands, by its digits.
    """
    if re.fullmatch(r"\d{1,3}(,\d{2,3})+(\.\d+)?", numeral):
        numeral = numeral.replace(",", "")
    numeral = numeral.replace(",", ".")
    return Decimal(numeral) if numeral.count(".") <= 1 else Decimal(numeral.replace(".", "00"))


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _clock(match: re.Match[str]) -> str:
    hour = int(match[1]) % 12 + (12 if match[3].lower() == "p" else 0)
    return f" {hour}:{match[2] or '00'} "


def _months(words: Sequence[str], capitals: frozenset[str]) -> Iterator[int]:
    for at, word in enumerate(words):
        beside = [*words[max(at - 1, 0) : at], *words[at + 1 : at + 2]]
        sure = word not in AMBIGUOUS_MONTHS or word in capitals or any(NUMERAL.match(near) for near in beside)
        if word in MONTHS and sure:
            yield MONTHS[word]


def _han(run: str) -> int:
    total, section, digit = 0, 0, 0
    if not any(character in HAN_MULTIPLIERS for character in run):
        return int("".join(str(HAN_DIGITS[character]) for character in run))
    for character in run:
        if character in HAN_DIGITS:
            digit = HAN_DIGITS[character]
        elif HAN_MULTIPLIERS[character] < 10_000:
            section += max(digit, 1) * HAN_MULTIPLIERS[character]
            digit = 0
        else:
            total, section, digit = (total + section + digit) * HAN_MULTIPLIERS[character], 0, 0
    return total + section + digit
