"""Each guard by itself: what it refuses, what it lets pass, both ways round."""

import pytest

from cacheproxy.semantic.guards import GUARDS, refused_by
from tests.cacheproxy.semantic.verifier.pairs import pair

REFUSED = [
    ("number", "How do I lose 5 kg in 3 weeks?", "How do I lose 5 kg in 6 weeks?"),
    ("number", "a hotel for two people", "a hotel for four people"),
    ("number", "the second law of thermodynamics", "the third law of thermodynamics"),
    ("number", "World War II films", "World War I films"),
    ("number", "Who won in 2014?", "Who won in 2018?"),
    ("number", "Who won?", "Who won in 2018?"),
    ("number", "三天可以退款吗", "五天可以退款吗"),
    ("unit", "Convert 10 miles to km", "Convert 10 km to miles"),
    ("unit", "a loan of $500", "a loan of €500"),
    ("unit", "Is 30 °C warm?", "Is 30 °F warm?"),
    ("date", "Are you open on Monday?", "Are you open on Tuesday?"),
    ("date", "flights in March", "flights in April"),
    ("date", "What is the weather today?", "What is the weather tomorrow?"),
    ("date", "the report of 2024-03-05", "the report of 2024-03-06"),
    ("date", "deals of next week", "deals of last week"),
    ("negation", "Why can I log in?", "Why can I not log in?"),
    ("negation", "Which foods contain gluten?", "Which foods don't contain gluten?"),
    ("negation", "How do I travel with a visa?", "How do I travel without a visa?"),
    ("negation", "The payment was declined", "The payment was not declined"),
    ("negation", "可以退款", "不可以退款"),
    ("opposite", "How do I buy shares?", "How do I sell shares?"),
    ("opposite", "What is the best bank?", "What is the worst bank?"),
    ("opposite", "eat before training", "eat after training"),
    ("direction", "mail from Alice", "mail to Alice"),
    ("direction", "How do I go from London to Paris?", "How do I go from Paris to London?"),
    ("direction", "从北京到上海怎么走", "从上海到北京怎么走"),
    ("order", "Is Python faster than Ruby?", "Is Ruby faster than Python?"),
    ("order", "Does the dog chase the cat?", "Does the cat chase the dog?"),
    ("order", "a red car and a blue house", "a blue car and a red house"),
    ("order", "Can I pay her?", "Can she pay me?"),
    ("order", "milk chocolate", "chocolate milk"),
    ("name", "flights to Rome", "flights to Madrid"),
    ("name", "flights to rome", "flights to madrid"),
    ("name", "How do I install Docker?", "How do I install Podman?"),
    ("name", "How do I reset my password?", "How do I reset my Gmail password?"),
    ("name", "Compare Venus, Saturn and Mars", "Compare Venus and Saturn"),
    ("code", "What does foo() return?", "What does bar() return?"),
    ("code", "Explain `a + b`", "Explain `a - b`"),
    ("code", "How do I use git --force?", "How do I use git --amend?"),
    ("code", "How do I learn C++?", "How do I learn C#?"),
    ("code", "Open main.py", "Open test.py"),
    ("code", "What is 5 - 3?", "What is 3 - 5?"),
    ("code", 'What does "lol" mean?', 'What does "rofl" mean?'),
    (
        "language",
        "Wie kann ich das Konto mit dem Handy löschen?",
        "How can I delete the account with my phone?",
    ),
    ("language", "How do I say hello in Spanish?", "How do I say hello in Italian?"),
    ("language", "退款", "refund"),
    ("length", "word " * 61 + "cats", "word " * 61 + "dogs"),
]
PASSED = [
    ("a hotel for two people", "a hotel for 2 people"),
    ("1,000,000 dollars", "$1 million"),
    ("the 2nd of these laws", "the second of these laws"),
    ("World War III", "World War 3"),
    ("250 people", "two hundred and fifty people"),
    ("new 500 rupee notes", "new Rs 500 notes"),
    ("Are you open at 3pm?", "Are you open at 15:00?"),
    ("I can't log in", "I am unable to log in"),
    ("Is it true?", "Is it true or not?"),
    ("How do I fly from London to Paris?", "How do I fly to Paris from London?"),
    ("the price of gold", "the gold price"),
    ("Are cats and dogs friends?", "Are dogs and cats friends?"),
    ("Who won, Hillary Clinton or Donald Trump?", "Who won, Donald Trump or Hillary Clinton?"),
    ("How do I learn fast online?", "How do I learn online fast?"),
    ("What do Indians eat in India?", "What do the Indian people eat in India?"),
    ("Where is the Indian Institute of Technology Delhi?", "Where is IIT Delhi?"),
    ("the United States", "the US"),
    ("Was Gandhi vegetarian?", "Was Mahatma Gandhi vegetarian?"),
    ("What does lol mean?", 'What does "lol" mean?'),
    ("the iPhone 6 price", "the iPhone6 price"),
    ("使用3天", "使用三天"),
    ("Hi, could you please tell me what a heat pump is? Thanks!", "What is a heat pump?"),
    ("How do I stop a dog from barking?", "How do I get a dog to stop barking?"),
]


@pytest.mark.parametrize(("guard", "new", "stored"), REFUSED)
def test_refuses(guard: str, new: str, stored: str) -> None:
    assert not GUARDS[guard](pair(new, stored))
    assert not GUARDS[guard](pair(stored, new))
    assert refused_by(pair(new, stored)) is not None


@pytest.mark.parametrize(("new", "stored"), PASSED)
def test_lets_pass(new: str, stored: str) -> None:
    assert refused_by(pair(new, stored)) is None
    assert refused_by(pair(stored, new)) is None


@pytest.mark.parametrize("text", sorted({text for row in REFUSED for text in row[1:]}))
def test_nothing_is_refused_against_itself(text: str) -> None:
    assert refused_by(pair(text, text)) is None


def test_the_words_for_statistics_stay() -> None:
    assert list(GUARDS) == [
        "language", "code", "number", "unit", "date", "negation", "opposite", "direction", "order", "name", "length",
    ]  # fmt: skip
