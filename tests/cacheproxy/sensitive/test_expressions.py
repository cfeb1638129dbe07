import pytest

from cacheproxy.sensitive.expressions import MAX_CHARACTERS, ExpressionError, compiled


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (r"EMP-\d{6}", "see EMP-123456"),
        ("工号[A-Z]\\d+", "工号A12"),
        (r"(?i)confidential", "CONFIDENTIAL"),
        (r"\p{Han}{2}有限公司", "某某有限公司"),
    ],
)
def test_what_matches_is_found(expression: str, text: str) -> None:
    assert compiled(expression).search(text) is not None


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("(", "missing"),
        (r"(?<=a)b", "invalid"),
        (r"(a)\1", "invalid"),
        ("x*", "matches the empty text"),
        ("", "matches the empty text"),
        ("a" * (MAX_CHARACTERS + 1), "at most"),
        (r"(\p{L}{500}){100}", "RE2 takes"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_reason(expression: str, why: str) -> None:
    with pytest.raises(ExpressionError, match=why):
        compiled(expression)


def test_no_expression_takes_longer_than_its_text() -> None:
    assert compiled("(a+)+b").search("a" * 200_000) is None
