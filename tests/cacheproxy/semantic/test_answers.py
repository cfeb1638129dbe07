"""Whether two answers say the same."""

import pytest

from cacheproxy.semantic.answers import SameAnswer, normalised, numbers
from cacheproxy.semantic.embedding import Free
from cacheproxy.semantic.minilm.encoder import LocalEncoder


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Paris.", "paris"),
        ("The capital of France is Paris.", "Paris is the capital of France."),
        ("It costs 1,000 dollars.", "It costs 1000.00 dollars!"),
        ("", "  "),
        ("你好,世界", "你好, 世界。"),
    ],
)
async def test_these_say_the_same(quantised_encoder: LocalEncoder, a: str, b: str) -> None:
    assert await SameAnswer(Free(quantised_encoder))(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("The capital of France is Paris.", "The recipe needs flour and eggs."),
        ("The train leaves at 9.", "The train leaves at 10."),
        ("It takes 3.5 hours.", "It takes 35 hours."),
        ("Yes", ""),
        ("Yes.", "No."),
        ("It is allowed.", "It is not allowed."),
        ("You can bring a dog.", "You can\u2019t bring a dog."),
        ("可以带狗。", "不可以带狗。"),
        ("It is -5 degrees.", "It is 5 degrees."),
        ("Version 3.5", "Version 3 5"),
    ],
)
async def test_these_do_not(quantised_encoder: LocalEncoder, a: str, b: str) -> None:
    assert not await SameAnswer(Free(quantised_encoder))(a, b)


async def test_how_near_is_near_enough_can_be_said(quantised_encoder: LocalEncoder) -> None:
    a, b = "Paris is the capital of France.", "The capital of France is the city of Paris."
    assert await SameAnswer(Free(quantised_encoder), least_cosine=0.5)(a, b)
    assert not await SameAnswer(Free(quantised_encoder), least_cosine=0.9999)(a, b)


def test_numbers_are_read_as_people_write_them() -> None:
    assert numbers("1,000 and 2.50 and 007 and 0") == {"1000", "2.5", "7", "0"}
    assert numbers("3,5 and 10 in 2020-2021, at \u22127") == {"3.5", "10", "2020", "2021", "-7"}
    assert normalised("Héllo,  WORLD!") == "héllo world"
