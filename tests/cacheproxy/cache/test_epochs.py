"""Invalidations as numbers: what each concerns, in whatever order one hears of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.cache.epochs import EVERYBODY, EVERYTHING, Epochs, Invalidation, Place, Tagged

ACME, STRANGER = 1, 2
PLACES = st.builds(
    Place,
    model=st.sampled_from(["", "small", "large"]),
    session=st.sampled_from([b"", b"s"]),
    tag=st.sampled_from([b"", b"t"]),
)


def epochs_after(*invalidations: tuple[int, Place]) -> Epochs:
    """Return what a process knows after (tenant, place) were invalidated one after another."""
    epochs = Epochs()
    for number, (tenant_id, place) in enumerate(invalidations, 1):
        epochs.take(Invalidation(number, tenant_id, place))
    return epochs


@pytest.mark.parametrize(
    ("tenant_id", "place", "concerned"),
    [
        (EVERYBODY, EVERYTHING, {"small of acme", "large of acme", "small of stranger"}),
        (ACME, EVERYTHING, {"small of acme", "large of acme"}),
        (EVERYBODY, Place(model="small"), {"small of acme", "small of stranger"}),
        (ACME, Place(model="small"), {"small of acme"}),
        (ACME, Place(model="small", version="1"), {"small of acme"}),
        (ACME, Place(model="small", version="2"), set()),
        (ACME, Place(session=b"s"), set()),
        (ACME, Place(tag=b"t"), set()),
    ],
)
def test_an_invalidation_concerns_what_matches_all_that_is_stated(
    tenant_id: int, place: Place, concerned: set[str]
) -> None:
    epochs = epochs_after((tenant_id, place))
    calls = {
        "small of acme": epochs.era(ACME, "small", "1"),
        "large of acme": epochs.era(ACME, "large", "1"),
        "small of stranger": epochs.era(STRANGER, "small", "1"),
    }
    assert {name for name, era in calls.items() if era.epoch} == concerned


def test_sessions_and_tags_concern_the_calls_that_name_them() -> None:
    epochs = epochs_after((ACME, Place(session=b"s")), (ACME, Place(model="small", tag=b"t")))
    era = epochs.era(ACME, "small", "1")
    assert era.epoch_of(b"", ()) == 0
    assert era.epoch_of(b"s", ()) == 1
    assert era.epoch_of(b"s", (b"other", b"t")) == 2
    assert epochs.era(ACME, "large", "1").epoch_of(b"", (b"t",)) == 0
    assert epochs.era(STRANGER, "small", "1").epoch_of(b"s", (b"t",)) == 0


def test_a_policys_tags_are_every_answers() -> None:
    epochs = epochs_after((EVERYBODY, Place(tag=b"laws")))
    assert epochs.era(ACME, "small", "1", ("other", "laws")).epoch == 1
    assert epochs.era(ACME, "small", "1", ()).epoch == 0


def test_a_key_moves_with_each_of_its_invalidations() -> None:
    epochs = Epochs()
    seen = [epochs.era(ACME, "small", "1").key(b"k1:a")]
    for number in (1, 2, 3):
        epochs.take(Invalidation(number, ACME, Place(key=seen[-1])))
        seen.append(epochs.era(ACME, "small", "1").key(b"k1:a"))
    assert len(set(seen)) == 4
    assert all(len(key) == 67 and key.startswith(b"k1:") for key in seen[1:])
    assert epochs.era(STRANGER, "small", "1").key(b"k1:a") == b"k1:a"


def test_who_keeps_answers_is_told_of_keys_that_are_of_no_use_to_anybody() -> None:
    epochs = Epochs()
    told: list[bytes] = []
    epochs.on_key = told.append
    epochs.take(Invalidation(1, ACME, Place(key=b"k1:a")))
    epochs.take(Invalidation(2, EVERYBODY, Place(key=b"k1:b")))
    epochs.take(Invalidation(3, EVERYBODY, EVERYTHING))
    assert told == [b"k1:b"]


def test_keys_found_to_be_a_tenants_own_end_and_are_of_no_use_to_anybody() -> None:
    epochs = Epochs()
    told: list[bytes] = []
    epochs.on_key = told.append
    mine, other = epochs.era(ACME, "small", "1"), epochs.era(STRANGER, "small", "1")
    for epoch in (1, 2):
        before = epochs.era(ACME, "small", "1").key(b"k1:a")
        epochs.take(Invalidation(epoch, ACME, EVERYTHING, (b"k1:a", b"k1:b")))
        assert epochs.era(ACME, "small", "1").key(b"k1:a") not in {before, b"k1:a"}
        assert before in told  # wherever it was kept by then
    epochs.take(Invalidation(2, ACME, EVERYTHING, (b"k1:a", b"k1:b")))
    assert len(told) == 4
    assert (mine.is_over, other.is_over) == (True, False)
    assert epochs.era(ACME, "small", "1").epoch == 0
    assert epochs.era(ACME, "small", "1").key(b"k1:c") == b"k1:c"


def test_an_era_is_over_when_its_tenant_is_concerned() -> None:
    epochs = Epochs()
    mine, other = epochs.era(ACME, "small", "1"), epochs.era(STRANGER, "small", "1")
    assert epochs.era(ACME, "small", "1") is mine
    epochs.take(Invalidation(1, ACME, Place(session=b"s")))
    assert (mine.is_over, other.is_over) == (True, False)
    epochs.take(Invalidation(2, EVERYBODY, Place(tag=b"t")))
    assert other.is_over
    assert epochs.era(ACME, "small", "1").began == 2


def test_an_answer_ends_with_any_of_its_tags() -> None:
    epochs = epochs_after((ACME, Place(tag=b"a")), (STRANGER, Place(tag=b"b")), (ACME, Place(tag=b"b")))
    era = epochs.era(ACME, "small", "1")
    assert era.ends(Tagged(ACME, 2, (b"a", b"b")))
    assert not era.ends(Tagged(ACME, 3, (b"a", b"b")))
    assert not era.ends(Tagged(ACME, 1, (b"a", b"c")))
    assert era.ends(Tagged(STRANGER, 1, (b"b",)))


def test_places_beyond_the_bound_count_as_everything_of_their_tenant() -> None:
    epochs = Epochs(max_places=10)
    for number in range(1, 12):
        epochs.take(Invalidation(number, ACME, Place(session=b"%d" % number)))
    era = epochs.era(ACME, "small", "1")
    assert era.epoch == 5
    assert era.epoch_of(b"11", ()) == 11
    assert epochs.era(STRANGER, "small", "1").epoch == 0


@given(st.lists(st.tuples(st.sampled_from([EVERYBODY, ACME, STRANGER]), PLACES), max_size=8), st.randoms())
def test_the_order_in_which_one_hears_does_not_matter(stated: list[tuple[int, Place]], random: Any) -> None:
    rows = [Invalidation(number, *one) for number, one in enumerate(stated, 1)]
    heard = [*rows, *rows]
    random.shuffle(heard)
    ordered, shuffled = epochs_after(*stated), Epochs()
    for row in heard:
        shuffled.take(row)
    for tenant_id in (ACME, STRANGER):
        for session, tags in ((b"", ()), (b"s", ()), (b"", (b"t",))):
            before = ordered.era(tenant_id, "small", "1").epoch_of(session, tags)
            assert shuffled.era(tenant_id, "small", "1").epoch_of(session, tags) == before
    assert shuffled.latest == len(rows)
