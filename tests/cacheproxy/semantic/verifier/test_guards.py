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
    ("opposite", "Is it legal to fish here?", "Is it illegal to fish here?"),
    ("opposite", "How do I encrypt a disk?", "How do I decrypt a disk?"),
    ("opposite", "How is inbound traffic counted?", "How is outbound traffic counted?"),
    ("opposite", "eggs in a cooked salad", "eggs in an uncooked salad"),
    ("opposite", "Selling a car in Berlin", "How do I buy a car in Berlin?"),
    ("opposite", "shares held for more than a year", "shares held for less than a year"),
    ("opposite", "May an employer sue?", "May an employee sue?"),
    ("kind", "a bike for my son, which size?", "Which size of bike fits my daughter?"),
    ("kind", "how do i close a tab in chrome", "the way of closing tabs in firefox"),
    ("order", "How long after eating may I swim?", "How long after swimming may I eat?"),
    ("direction", "the fee after probation", "the fee during probation"),
    ("negation", "undo it without keeping changes", "undo it but keep changes"),
    ("negation", "if I still have access", "if I no longer have access"),
    ("unit", "at 3000 m of altitude", "at 3000 feet of altitude"),
    ("edit", "What are the side effects of metformin?", "What are the side effects of methotrexate?"),
    ("edit", "How do I grant a user access?", "How do I revoke a user access?"),
    ("edit", "Where do I vote in this town?", "When do I vote in this town?"),
    ("edit", "Was it open in the holidays?", "Is it open in the holidays?"),
    ("edit", "My son is being bullied at school", "My son is bullying others at school"),
    ("edit", "How many people live there?", "How many people lived there?"),
    ("edit", "Show all of my files", "Show some of my files only"),
    ("edit", "Can he see my photos?", "Can she see my photos?"),
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
    ("Am I allowed to pay in if I am younger than 50?", "May I pay in if I am under 50?"),
    ("Can it be made one day ahead?", "Can it be made a day ahead?"),
    ("water at 3000 m", "water at 3000 metres"),
    ("a prize of $5m", "a prize of 5 million dollars"),
    ("I forgot my PIN", "I can't remember my PIN"),
    ("Is my boss, as an employer, allowed to read my mail?", "May my employer read my mail?"),
    ("In pandas, how do I drop empty rows?", "How do I drop empty rows in pandas?"),
    (
        "My starter smells like nail polish, is it safe?",
        "A nail polish smell comes from my starter, is it safe?",
    ),
    ("How do I get to Shinjuku from Narita by train?", "Which trains go to Shinjuku from Narita?"),
    ("Wie kündige ich den Vertrag?", "Wie kann ich den Handyvertrag kündigen?"),
    ("How can I learn it?", "How do I learn it?"),
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
        "language", "code", "number", "unit", "date", "negation", "opposite", "kind", "direction", "order", "name",
        "edit", "length",
    ]  # fmt: skip
