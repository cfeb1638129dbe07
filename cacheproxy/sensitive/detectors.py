"""Finds identity numbers, payment cards, e-mail addresses and telephone numbers in texts, English and Chinese. Plain.

A detector reads a text in which wide characters are plain (`plain_width`) and yields where what it knows stands.
Every repetition in its expressions is bounded, so that none takes more than a few dozen steps for a character. What
has a check digit may stand close to letters; what has none must stand alone, for ids are full of digits.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from cacheproxy.sensitive.checksums import is_hong_kong_id, is_resident_id, is_taiwan_id, passes_luhn

Kind = Literal["identity", "card", "email", "phone"]
Place = tuple[int, int]
"""Where it begins, and where it has ended."""
Detector = Callable[[str, int, int], Iterator[Place]]
"""Looks at a part of a text, from one place to another; what stands before it, it sees."""

_WIDE = [(chr(ord("０") + digit), str(digit)) for digit in range(10)]
_WIDE += zip("＠．－＋（）　\u00a0‐‑‒–—−", "@.-+()  ------", strict=True)

_APART = r"(?<![0-9])(?<![0-9]\.)"
_ALONE = r"(?<![0-9A-Za-z_])(?<![0-9]\.)"
_END = r"(?![0-9])(?!\.[0-9])"
_ALONE_END = r"(?![0-9A-Za-z_])(?!\.[0-9])"

_RESIDENT = re.compile(
    _APART + r"[1-8]\d{5}[ -]?(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ -]?\d{3}[\dXx]" + _END,
    re.ASCII,
)
_SOCIAL_SECURITY = re.compile(
    _ALONE + r"(?!000|666|9)\d{3}([ -])(?!00)\d\d\1(?!0000)\d{4}" + _ALONE_END
    + r"|(?i:\bssn|\bsocial security(?: number| no\.?)?)[ :#]{1,4}(?:is )?(?!000|666|9)\d{9}" + _ALONE_END,
    re.ASCII,
)  # fmt: skip
_NATIONAL_INSURANCE = re.compile(
    _ALONE
    + r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]"
    + _ALONE_END,
    re.ASCII,
)
_HONG_KONG = re.compile(_ALONE + r"([A-Z]{1,2})(\d{6})\(([\dA])\)", re.ASCII)
_TAIWAN = re.compile(_ALONE + r"[A-Z][1289]\d{8}" + _ALONE_END, re.ASCII)

_CARD = re.compile(_APART + r"\d{4,19}(?:[ -]\d{1,13}){0,31}" + _END, re.ASCII)
_ISSUERS = re.compile(
    r"4|5[0-8]|2(?:2[2-9]|[3-6]\d|7[01]|720|20[0-4])|3(?:[47]|[0689]|5[2-8])|6(?:011|2|4[4-9]|5|[37])|8[1]"
)
_LAYOUTS = frozenset(
    {
        *((n,) for n in range(13, 20)),
        *((4, 4, 4, 4, n) for n in (1, 2, 3)),
        (4, 4, 4, 4),
        (4, 4, 4, 1),
        (4, 6, 5),
    }
    | {(4, 6, 4), (6, 13), (4, 4, 5)}
)
"""How the digits of a card are grouped where people write them."""

_EMAIL_DOMAIN = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}\.[A-Za-z]{2,24}(?![A-Za-z0-9-])")
_EMAIL_LOCAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.!#$%&'*+/=?^_`{|}~-")
_MAX_LOCAL = 64

_PHONE = re.compile(
    _ALONE + r"(?:(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}"  # a Chinese mobile
    r"|(?:\(0(?:10|2\d|[3-9]\d\d)\) ?|0(?:10|2\d|[3-9]\d\d)[ -])\d{7,8}"  # a Chinese line
    r"|(?:\+?1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])[2-9]\d\d[ .-]\d{4}"  # North America
    r"|\+[1-9](?:[ .()-]{0,2}\d){7,14})" + _ALONE_END,  # anywhere (E.164)
    re.ASCII,
)


def plain_width(text: str) -> str:
    """Return the text with full-width digits and signs, and other dashes and spaces, as ASCII; of the same length."""
    if not text.isascii():
        for wide, plain in _WIDE:  # many times faster than `translate`
            text = text.replace(wide, plain)
    return text


def identities(text: str, start: int, end: int) -> Iterator[Place]:
    """Yield the numbers of persons: Chinese residents, US social security, UK insurance, Hong Kong, Taiwan."""
    for match in _RESIDENT.finditer(text, start, end):
        if is_resident_id(match[0].replace(" ", "").replace("-", "")):
            yield match.span()
    for expression in (_SOCIAL_SECURITY, _NATIONAL_INSURANCE):
        for match in expression.finditer(text, start, end):
            yield match.span()
    for match in _HONG_KONG.finditer(text, start, end):
        if is_hong_kong_id(*match.groups()):
            yield match.span()
    for match in _TAIWAN.finditer(text, start, end):
        if is_taiwan_id(match[0]):
            yield match.span()


def cards(text: str, start: int, end: int) -> Iterator[Place]:
    """Yield the numbers of payment cards: of a known issuer, grouped as on cards, with their check digit."""
    for match in _CARD.finditer(text, start, end):
        groups = [(part.start(), part.end()) for part in re.finditer("[0-9]+", match[0])]
        place = 0
        while place < len(groups):
            sizes = range(min(5, len(groups) - place), 0, -1)
            size = next((size for size in sizes if _is_card(match[0], groups[place : place + size])), 0)
            if size:
                yield match.start() + groups[place][0], match.start() + groups[place + size - 1][1]
            place += size or 1


def emails(text: str, start: int, end: int) -> Iterator[Place]:
    """Yield e-mail addresses, each around its @."""
    at = text.find("@", start, end)
    while at >= 0:
        first, domain = at, _EMAIL_DOMAIN.match(text, at + 1)
        if domain is not None:
            while first > 0 and at - first < _MAX_LOCAL and text[first - 1] in _EMAIL_LOCAL:
                first -= 1
            if first < at:
                yield first, domain.end()
        at = text.find("@", at + 1, end)


def phones(text: str, start: int, end: int) -> Iterator[Place]:
    """Yield telephone numbers: Chinese, North American, and any that begin with + and the country."""
    for match in _PHONE.finditer(text, start, end):
        yield match.span()


DETECTORS: Mapping[Kind, Detector] = {
    "identity": identities,
    "card": cards,
    "email": emails,
    "phone": phones,
}


def _is_card(text: str, groups: list[Place]) -> bool:
    if tuple(end - start for start, end in groups) not in _LAYOUTS:
        return False
    digits = "".join(text[start:end] for start, end in groups)
    return _ISSUERS.match(digits) is not None and len(set(digits)) > 1 and passes_luhn(digits)
