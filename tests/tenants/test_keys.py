"""The text of API keys."""

from hypothesis import given
from hypothesis import strategies as st

from tenants import keys


def test_a_new_key_is_well_formed_and_names_its_public_id() -> None:
    new = keys.generate()
    assert len(new.text) == keys.KEY_LENGTH
    assert new.text.startswith(keys.PREFIX + new.public_id)
    assert keys.is_well_formed(new.text)


def test_two_keys_share_nothing() -> None:
    first, second = keys.generate(), keys.generate()
    assert first.public_id != second.public_id
    assert keys.digest(first.text, "pepper") != keys.digest(second.text, "pepper")


@given(position=st.integers(8, keys.KEY_LENGTH - 1), letter=st.sampled_from(keys.ALPHABET))
def test_one_mistyped_character_is_always_noticed(position: int, letter: str) -> None:
    text = keys.generate().text
    mistyped = text[:position] + letter + text[position + 1 :]
    assert keys.is_well_formed(mistyped) == (mistyped == text)


@given(st.text())
def test_made_up_text_is_refused(text: str) -> None:
    assert not keys.is_well_formed(text)
    assert not keys.is_well_formed(keys.PREFIX + text)


def test_the_digest_depends_on_the_pepper() -> None:
    text = keys.generate().text
    assert keys.digest(text, "one") != keys.digest(text, "other")
    assert len(keys.digest(text, "one")) == 32
