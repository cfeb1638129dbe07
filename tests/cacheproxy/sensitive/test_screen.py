import json
import os
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.protocols.multipart import File, Form
from cacheproxy.sensitive.detectors import DETECTORS
from cacheproxy.sensitive.screen import MAX_LOOKED_AT, Screen

CARD = "4111 1111 1111 1111"
MOBILE = "13800138000"
EVERYTHING = Screen(list(DETECTORS), {"staff": r"EMP-\d{6}", "ward": "病区[A-Z]"})


def chat(content: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-9f86d081884c7d65",
        "created": 1763726400,
        "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
    }


@pytest.mark.parametrize(
    "said",
    [
        chat(f"Pay with {CARD}."),
        chat(f"first line\n{MOBILE}"),
        chat(f"电话\t{MOBILE}"),
        chat([{"type": "text", "text": "a@b.cn"}]),
        chat("badge EMP-123456"),
        chat("在病区A"),
        chat(json.dumps({"to": f"\n{MOBILE}"})),  # a tool's arguments
        chat(json.dumps([json.dumps({"to": f"\n{MOBILE}"})])),
        {"card": 4111111111111111},
        {"a@b.cn": 1},
        [MOBILE],
        f"{MOBILE} called",
        MOBILE.encode(),
        memoryview(b"\xff\x00\x05" + MOBILE.encode() + b"\x00\x80"),
        Form((("note", f"call {MOBILE}"),), ()),
        Form((), (File("file", "a.txt", "text/plain", memoryview(b"mail a@bc.cn")),)),
        chat("x " * 50_000 + MOBILE),
    ],
)
def test_it_is_found_wherever_it_stands(said: Any) -> None:
    assert EVERYTHING.finds(said)


@pytest.mark.parametrize(
    "said",
    [
        chat("The capital of France is Paris."),
        chat("今天，天气很好（25度）。"),
        {"data": [{"embedding": [0.4111111111111111, -0.13800138000]}]},
        {"input": [4111, 1111, 1111, 1111]},
        {"a": "4111 1111", "b": "1111 1111"},
        None,
        True,
        1763726400,
        [[], {}, ""],
        "{not json",
        "[" * 10_000,
    ],
)
def test_what_has_nothing_has_nothing(said: Any) -> None:
    assert not EVERYTHING.finds(said)


def test_only_what_is_named_is_looked_for() -> None:
    said = chat(f"{CARD}, EMP-123456")
    assert not Screen(["email"], {}).finds(said)
    assert Screen(["card"], {}).finds(said)
    assert Screen([], {"staff": r"EMP-\d{6}"}).finds(said)
    assert not Screen([], {"staff": r"emp-\d{6}"}).finds(said)


def test_within_an_answer_only_the_named_places_are_looked_at() -> None:
    screen = Screen(["phone"], {}, within=["/choices/*/message/content"])
    assert screen.finds_in_answer(chat(MOBILE))
    assert not screen.finds_in_answer({**chat("Hi"), "id": MOBILE})


def test_a_field_is_sensitive_whatever_it_holds() -> None:
    screen = Screen([], {}, fields=["/pages/*/holder", "/number"])
    assert screen.finds_in_answer({"pages": [{"holder": "Li"}]})
    assert screen.finds_in_answer({"number": 7})
    assert not screen.finds_in_answer({"pages": [{"holder": ""}, {"holder": None}, {}]})


def test_what_is_found_is_blotted_out_and_all_else_stays() -> None:
    given = chat(f"Call {MOBILE} or a@b.cn; ４１１１１１１１１１１１１１１１. EMP-123456")
    before = json.dumps(given)
    masked = EVERYTHING.masked(given)
    assert masked is not None
    assert masked.said == chat("Call [phone] or [email]; [card]. [staff]")
    assert set(masked.names) == {"phone", "email", "card", "staff"}
    assert json.dumps(given) == before


def test_arguments_stay_json_when_they_are_masked() -> None:
    masked = EVERYTHING.masked(chat(json.dumps({"to": f"\n{MOBILE}", "n": 1})))
    assert masked is not None
    assert json.loads(masked.said["choices"][0]["message"]["content"]) == {"to": "\n[phone]", "n": 1}


def test_fields_are_blotted_out_whole() -> None:
    masked = Screen([], {}, fields=["/holder", "/number", "/none"]).masked(
        {"holder": "Li", "number": 7, "none": None}
    )
    assert masked is not None
    assert masked.said == {"holder": "[field]", "number": None, "none": None}


@pytest.mark.parametrize("said", [{"card": 4111111111111111}, {"a@b.cn": "x"}, b"a@bc.cn"])
def test_what_cannot_be_blotted_out_is_not_kept(said: Any) -> None:
    assert EVERYTHING.masked(said) is None


def test_a_text_full_of_candidates_counts_as_sensitive_and_is_given_up_early() -> None:
    text = "4111 1111 1111 1112 " * (20 * MAX_LOOKED_AT // 20)
    started = time.process_time()
    assert EVERYTHING.finds(text)
    assert EVERYTHING.masked(text) is None
    assert time.process_time() - started < 2


def test_random_bytes_are_not_searched_slowly() -> None:
    started = time.process_time()
    EVERYTHING.finds(memoryview(os.urandom(1 << 20)))
    assert time.process_time() - started < 0.5


texts = st.text(
    st.sampled_from('14 08-@.ab京。\n"\\') | st.characters(exclude_categories=["Cs"]), max_size=30
)


@settings(deadline=None)
@given(texts, st.sampled_from([CARD, MOBILE, "a@bc.cn", "11010519491231002X", "EMP-123456"]), texts)
def test_what_the_detectors_find_the_screen_finds(before: str, number: str, after: str) -> None:
    said = {"text": f"{before}。{number}。{after}"}
    assert EVERYTHING.finds(said)
    masked = EVERYTHING.masked(said)
    assert masked is None or number not in masked.said["text"]


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)))  # fmt: skip
def test_what_is_masked_holds_nothing_any_more(said: Any) -> None:
    masked = EVERYTHING.masked(said)
    if masked is None:
        assert EVERYTHING.finds(said)
    else:
        assert not EVERYTHING.finds(masked.said)
        assert EVERYTHING.finds(said) == bool(masked.names)
