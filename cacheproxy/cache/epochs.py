"""Which stored answers still hold: invalidations as numbers, folded into the keys of the answers they concern.

Every invalidation has a number, its *epoch*, and a place: the tenant, model, version, session, tag or key whose
answers it ends. The epochs of the places that a call belongs to are part of its key, so that an invalidation
takes one dict entry, whatever the number of answers that nobody will find again, and a hit pays nothing for it.

What may be remembered with a key (`gateway/understanding.py`) stands on an `Era`, which is over as soon as an
invalidation may concern it.
"""

from collections.abc import Callable, Collection
from hashlib import sha256
from typing import NamedTuple

MAX_PLACES = 10_000
"""Places that are told apart of one owner; of more, those invalidated longest ago count as all that it has."""
MAX_ERAS = 65_536
EVERYBODY = 0


class Place(NamedTuple):
    """What an invalidation is about: the answers that match all that is stated. Nothing stated: all answers."""

    model: str = ""
    version: str = ""
    session: bytes = b""
    tag: bytes = b""
    key: bytes = b""


EVERYTHING = Place()


class Invalidation(NamedTuple):
    """An end of all answers of *place* that began to be computed before it."""

    epoch: int
    owner: int
    """`EVERYBODY`, or whose answers: a tenant's id, or with its sign turned a pool's."""
    place: Place
    keys: tuple[bytes, ...] = ()
    """Of answers found to be the tenant's own: they alone have ended, and are of no use to anybody."""


class Tagged(NamedTuple):
    """The tags that the call which paid for an answer named, whose they are, and the epoch in which it asked."""

    owner: int
    epoch: int
    tags: tuple[bytes, ...]


class Era:
    """What lasts for one owner's calls of one model until the next invalidation that may concern them."""

    __slots__ = ("_epochs", "began", "epoch", "is_over", "model", "owner", "version")

    def __init__(self, epochs: "Epochs", owner: int, model: str, version: str, epoch: int) -> None:
        self._epochs = epochs
        self.owner = owner
        self.model = model
        self.version = version
        self.epoch = epoch
        """The latest invalidation of all these calls' answers."""
        self.began = epochs.latest
        """The latest invalidation of anything when this era began."""
        self.is_over = False

    def epoch_of(self, session: bytes, tags: Collection[bytes]) -> int:
        """Return the latest invalidation that concerns a call in *session* with *tags*."""
        if not session and not tags:
            return self.epoch
        epochs, own = self._epochs, (self.owner, self.model, self.version)
        of_session = epochs.of(*own, session=session) if session else 0
        return max(self.epoch, of_session, *(epochs.of(*own, tag=tag) for tag in tags))

    def key(self, key: bytes) -> bytes:
        """Return where the answer of *key* is kept by now: elsewhere, once that key was invalidated."""
        return self._epochs.kept_under(self.owner, key)

    def ends(self, tagged: Tagged) -> bool:
        """Return whether an answer of this era's key has ended because one of its own tags was invalidated since."""
        if tagged.epoch >= self._epochs.latest_of_tags:
            return False
        of = self._epochs.of
        return any(of(tagged.owner, self.model, self.version, tag=tag) > tagged.epoch for tag in tagged.tags)


class Epochs:
    """The invalidations that this process has heard of."""

    def __init__(self, *, max_places: int = MAX_PLACES) -> None:
        self._max_places = max_places
        self.latest = 0
        self.latest_of_tags = 0
        self.latest_of_keys = 0
        self.on_key: Callable[[bytes], None] | None = None
        """Told of each key whose answer is of no use to anybody any more. A tenant's word about a key is none: whose it
        is cannot be seen from it."""
        self._places: dict[int, dict[Place, int]] = {}
        self._eras: dict[tuple[int, str, str, tuple[str, ...]], Era] = {}

    def era(self, owner: int, model: str, version: str, tags: tuple[str, ...] = ()) -> Era:
        """Return what lasts for the owner's calls of a model whose answers all have *tags*, as its policy says."""
        name = (owner, model, version, tags)
        era = self._eras.get(name)
        if era is None:
            if len(self._eras) >= MAX_ERAS:
                self._end_eras(EVERYBODY)
            tagged = (self.of(owner, model, version, tag=tag.encode()) for tag in tags)
            epoch = max((self.of(owner, model, version), *tagged))
            era = self._eras[name] = Era(self, owner, model, version, epoch)
        return era

    def of(self, owner: int, model: str, version: str, *, session: bytes = b"", tag: bytes = b"") -> int:
        """Return the latest invalidation of such a place or of one around it; 0 where there was none."""
        latest = 0
        for places in (self._places.get(EVERYBODY), self._places.get(owner)):
            if places:
                for place in (
                    Place("", "", session, tag),
                    Place(model, "", session, tag),
                    Place(model, version, session, tag),
                ):
                    latest = max(latest, places.get(place, 0))
        return latest

    def of_key(self, owner: int, key: bytes) -> int:
        """Return the latest invalidation of *key* by itself; 0 where there was none."""
        place = Place(key=key)
        return max(self._places.get(whose, {}).get(place, 0) for whose in (EVERYBODY, owner))

    def kept_under(self, owner: int, key: bytes) -> bytes:
        """Return where the owner's answer of *key* is kept by now."""
        while self.latest_of_keys and (epoch := self.of_key(owner, key)):
            key = b"k1:" + sha256(b"%b/%d" % (key, epoch)).hexdigest().encode()
        return key

    def take(self, invalidation: Invalidation) -> None:
        """Heed *invalidation*. In any order, and as often as one hears of it."""
        epoch, owner, place, keys = invalidation
        ended = [Place(key=key) for key in keys] or [place]
        news = [self._take(epoch, owner, place, is_own=bool(keys)) for place in ended]
        if any(news):
            self._end_eras(owner)

    def _take(self, epoch: int, owner: int, place: Place, *, is_own: bool) -> bool:
        """Return whether it was news."""
        places = self._places.setdefault(owner, {})
        if places.get(place, 0) >= epoch:
            return False
        if place.key and (is_own or owner == EVERYBODY) and self.on_key is not None:
            self.on_key(self.kept_under(owner, place.key))
        places.pop(place, None)  # the one invalidated last stands last
        places[place] = epoch
        if len(places) > self._max_places:
            _forget(places, len(places) // 2)
        self.latest = max(self.latest, epoch)
        if place.tag:
            self.latest_of_tags = max(self.latest_of_tags, epoch)
        if place.key:
            self.latest_of_keys = max(self.latest_of_keys, epoch)
        return True

    def _end_eras(self, owner: int) -> None:
        for name, era in list(self._eras.items()):
            if owner in {EVERYBODY, era.owner}:
                era.is_over = True
                del self._eras[name]


def _forget(places: dict[Place, int], count: int) -> None:
    """Let the oldest of *places* count as everything, which ends more than was asked for, and never less."""
    forgotten = [(place, epoch) for place, epoch in places.items() if place != EVERYTHING][:count]
    for place, _ in forgotten:
        del places[place]
    newest = max(epoch for _, epoch in forgotten)
    places[EVERYTHING] = max(places.get(EVERYTHING, 0), newest)
