"""A hundred thousand questions as customers of some shop might ask them, no two of the same wish."""

import itertools
import random

OPENINGS = (
    "How do I",
    "What do I have to do to",
    "What is the best way to",
    "Is it possible to",
    "Where can I",
)
WORDINGS = (
    "How can I {}?",
    "What should I do to {}?",
    "Could you please explain how I can {}?",
    "I want to {}. How?",
)
ACTIONS = (
    "change", "cancel", "renew", "download", "share", "delete", "find", "pay for", "print", "insure", "return",
    "rename", "export", "repair", "translate", "book", "sell", "upgrade", "track", "archive", "restore", "verify",
    "copy", "refund", "transfer", "activate", "pause", "review", "sign", "replace", "order", "register", "compare",
    "extend", "lock", "report", "publish", "test", "schedule", "claim",
)  # fmt: skip
OWNERS = ("my", "our company's", "my mother's", "the club's", "a colleague's")
THINGS = (
    "subscription", "last invoice", "delivery address", "train ticket", "password", "warranty", "parcel", "bank card",
    "photographs", "meeting room", "passport", "tax form", "user account", "medical records", "rental contract",
    "backup", "phone number", "gift voucher", "hotel room", "licence key", "car insurance", "library card", "website",
    "printer", "order history",
)  # fmt: skip
ENDINGS = (
    "", " today", " by telephone", " from abroad", " without an account", " on a phone", " before the holidays",
    " after the deadline", " for a second time", " in another currency", " as a guest", " with a discount",
    " during the trial", " from a work computer", " on behalf of a friend", " at the weekend", " in person",
    " by letter", " for a whole team", " within a week",
)  # fmt: skip


def questions() -> list[str]:
    """Return all of them, shuffled, always the same."""
    dice = random.Random(1)
    wishes = [" ".join(words[:3]) + words[3] for words in itertools.product(ACTIONS, OWNERS, THINGS, ENDINGS)]
    dice.shuffle(wishes)
    return [f"{dice.choice(OPENINGS)} {wish}?" for wish in wishes]


def reworded(question: str) -> str:
    """Return *question*, of the first opening, in other words."""
    wish = question.removeprefix(OPENINGS[0]).strip("? ")
    return WORDINGS[len(wish) % len(WORDINGS)].format(wish)
