"""Looks through requests and answers for what must not be kept, and takes it out of what may. Plain.

Most texts hold nothing, so one pass by a linear-time automaton (RE2) over everything at once looks for what could
be something; only where it finds candidates do the detectors, with their check digits, look, and only around these.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import re2

from cacheproxy.protocols import document
from cacheproxy.sensitive.detectors import DETECTORS, Kind, Place, plain_width
from cacheproxy.sensitive.expressions import compiled

_CANDIDATES: Mapping[Kind, str] = {
    "identity": r"[1-8][0-9]{5}[ -]?(?:19|20)[0-9]{2}[01][0-9][0-3][0-9][ -]?[0-9]{3}[0-9Xx]"
    r"|[0-9]{3}[ -][0-9]{2}[ -][0-9]{4}|(?i:ssn|social security)[^0-9]{1,14}[0-9]{9}"
    r"|(?:^|[^0-9A-Za-z_])(?:[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]|[A-Z]{1,2}[0-9]{6}\(|[A-Z][1289][0-9]{8})",
    "card": r"[0-9]{4}(?:[ -]?[0-9]){9}",
    "email": r"@[A-Za-z0-9.-]+\.[A-Za-z]",
    "phone": r"(?:^|[^0-9A-Za-z_])(?:(?:(?:\+|00)?86[ -]?)?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}"
    r"|\(?0[0-9]{2,3}[) -] ?[0-9]{7}|(?:\+?1[ .-])?\(?[2-9][0-9]{2}[).-] ?[0-9]{3}[ .-][0-9]{4}"
    r"|\+[1-9](?:[ .()-]{0,2}[0-9]){7})",
}
"""What each detector's findings match, and little else; without look-arounds, which RE2 does not have."""
MARGIN = 128
"""Characters around a candidate that are looked at with it: more than anything that could be found is long."""
MAX_LOOKED_AT = 65_536
"""Characters of a text that the detectors look at; one with more around its candidates counts as sensitive."""
_SHORTEST_NUMBER = 10**7
"""Whole numbers below have too few digits to be anything."""
_ASCII = bytes(byte if byte < 0x80 else 0 for byte in range(256))
MAX_NESTED = 4
"""How deep JSON within texts within JSON is read; a tool's arguments are one deep."""


class TooManyCandidates(Exception):
    """A text is so full of what could be something that looking at it all would take too long."""


class Masked(NamedTuple):
    """What may be kept, and the names of what was taken out of it."""

    said: Any
    names: Collection[str]


class Screen:
    """What one policy looks for.

    `within` are the paths of an answer's values that are looked at, none for all; `fields` those of values that are
    sensitive whatever they hold.
    """

    def __init__(
        self,
        kinds: Collection[Kind],
        expressions: Mapping[str, str],
        *,
        within: Sequence[str] = (),
        fields: Sequence[str] = (),
    ) -> None:
        self._detectors = {kind: DETECTORS[kind] for kind in kinds}
        self._gate = re2.compile("|".join(_CANDIDATES[kind] for kind in kinds)) if kinds else None
        self._expressions = {name: compiled(expression) for name, expression in expressions.items()}
        self._within = within
        self._fields = fields

    def finds(self, said: Any) -> bool:
        """Return whether anything is found in a value: JSON, text or bytes, a form, a tuple of these."""
        texts = list(_texts(said))
        return self._may_find("\n".join(texts)) and any(map(self._finds_in, texts))

    def finds_in_answer(self, answer: Any) -> bool:
        """Return whether an answer holds anything sensitive where it is looked for, or a field that is."""
        if any(value not in (None, "") for path in self._fields for value in document.found(answer, path)):
            return True
        return any(self.finds(value) for value in self._looked_at(answer))

    def masked(self, answer: Any) -> Masked | None:
        """Return an answer, JSON or text, with `[name]` for all that was found in its texts.

        None where that cannot be: something was found in a number, or in the name of a field, or there is too much.
        """
        names: set[str] = set()
        for path in self._fields:
            answer = document.changed(answer, path, lambda value: _blank(value, names))
        try:
            for path in self._within or ("",):
                answer = document.changed(answer, path, lambda value: self._masked(value, names, MAX_NESTED))
        except TooManyCandidates:
            return None
        return None if any(self.finds(value) for value in self._looked_at(answer)) else Masked(answer, names)

    def _looked_at(self, answer: Any) -> Iterable[Any]:
        if not self._within:
            return (answer,)
        return [value for path in self._within for value in document.found(answer, path)]

    def _may_find(self, text: str) -> bool:
        if (
            self._gate is not None
            and self._gate.search(plain_width(text).encode(errors="replace")) is not None
        ):
            return True
        raw = text.encode(errors="replace")
        return any(expression.search(raw) is not None for expression in self._expressions.values())

    def _finds_in(self, text: str) -> bool:
        try:
            return bool(self._places(text))
        except TooManyCandidates:
            return True

    def _places(self, text: str) -> list[tuple[int, int, str]]:
        """Return where what stands in a text, in order, none within another.

        Raises:
            TooManyCandidates: nobody knows.
        """
        plain = plain_width(text)
        places = [
            (*place, kind)
            for start, end in self._windows(plain)
            for kind, detect in self._detectors.items()
            for place in detect(plain, start, end)
        ]
        for name, expression in self._expressions.items():
            places += [(*match.span(), name) for match in expression.finditer(text)]
        apart: list[tuple[int, int, str]] = []
        for start, end, name in sorted(places, key=lambda place: (place[0], -place[1])):
            if apart and start < apart[-1][1]:
                apart[-1] = (apart[-1][0], max(end, apart[-1][1]), apart[-1][2])
            elif start < end:
                apart.append((start, end, name))
        return apart

    def _windows(self, plain: str) -> list[Place]:
        """Return the parts of a text around its candidates.

        Raises:
            TooManyCandidates: they are longer than `MAX_LOOKED_AT` characters in all.
        """
        windows: list[Place] = []
        looked_at = 0
        for match in self._gate.finditer(plain) if self._gate is not None else ():
            start, end = max(0, match.start() - MARGIN), match.end() + MARGIN
            if windows and start <= windows[-1][1]:
                looked_at += end - windows[-1][1]
                windows[-1] = (windows[-1][0], end)
            else:
                looked_at += end - start
                windows.append((start, end))
            if looked_at > MAX_LOOKED_AT:
                raise TooManyCandidates
        return windows

    def _masked(self, value: Any, names: set[str], depth: int) -> Any:
        if isinstance(value, str):
            return self._masked_text(value, names, depth)
        if isinstance(value, dict):
            return {name: self._masked(item, names, depth) for name, item in value.items()}
        if isinstance(value, list):
            return [self._masked(item, names, depth) for item in value]
        return value

    def _masked_text(self, text: str, names: set[str], depth: int) -> str:
        inner = _nested(text) if depth else None
        if inner is not None:
            masked = self._masked(inner, names, depth - 1)
            return text if masked == inner else document.write(masked).decode()
        if not self._may_find(text):
            return text
        parts, done = [], 0
        for start, end, name in self._places(text):
            parts += [text[done:start], f"[{name}]"]
            done = end
            names.add(name)
        return "".join(parts) + text[done:]


def _blank(value: Any, names: set[str]) -> Any:
    if value in (None, ""):
        return value
    names.add("field")
    return "[field]" if isinstance(value, str) else None


def _texts(value: Any, depth: int = MAX_NESTED) -> Iterator[str]:
    """Yield every text in a value, names of fields and long whole numbers among them."""
    kind = type(value)
    if kind is str:
        inner = _nested(value) if depth else None
        yield from (value,) if inner is None else _texts(inner, depth - 1)
    elif kind is dict:
        for name, item in value.items():
            yield name
            yield from _texts(item, depth)
    elif kind is list and value and type(value[0]) is float and set(map(type, value)) == {float}:
        return  # a vector
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, depth)
    elif kind is int and value >= _SHORTEST_NUMBER:
        yield str(value)
    elif isinstance(value, bytes | memoryview):
        yield _decoded(bytes(value))


def _decoded(content: bytes) -> str:
    """Return the text that bytes are, or hold here and there."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.translate(_ASCII).decode()


def _nested(text: str) -> Any:
    """Return the object or list that a text is as JSON, as a tool's arguments are; None where it is none."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return _decode(text)
    except (ValueError, RecursionError):
        return None


_decode: Callable[[str], Any] = msgspec.json.Decoder().decode
