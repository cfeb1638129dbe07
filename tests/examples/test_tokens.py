import pytest

from examples.upstreams import tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("TOTAL EUR 12.40", ["TOTAL", "EUR", "12", ".", "40"]),
        ("it's  naïve\n\t(very)", ["it", "'", "s", "naïve", "(", "very", ")"]),
    ],
)
def test_text_is_words_and_punctuation_marks(text: str, expected: list[str]) -> None:
    assert tokens.text_tokens(text) == expected


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(28, 28, 1), (29, 28, 2), (56, 84, 6), (1, 1, 1), (420, 640, 15 * 23)]
)
def test_an_image_is_its_patches_with_those_at_the_edges(width: int, height: int, expected: int) -> None:
    assert tokens.image_tokens(width, height) == expected
