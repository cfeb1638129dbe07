"""What the semantic tier is asked, and what it answers. Plain: a gateway without the extra `semantic` can read it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cacheproxy.semantic.budget.rules import Rules

if TYPE_CHECKING:
    from cacheproxy.semantic.tier import Sought


class Question(NamedTuple):
    """What is looked for."""

    text: str
    """The one part of the call that may differ: the last user turn."""
    context: bytes
    """Stands for all the rest: see `Entry.context`."""
    tenant_id: int
    scope: bytes
    model: str
    version: str
    rules: Rules
    encoder: str | None = None
    """The model of the catalog whose vectors are searched; None for the local one."""


class SemanticHit(NamedTuple):
    """A stored answer to a question that is the same, so far as one can tell."""

    answer_key: bytes
    similarity: float
    score: float
    region: int


class Finding(NamedTuple):
    """What came of a look-up."""

    question: Question
    reason: str
    """`hit`, or the word for why there is none, as statistics count it."""
    hit: SemanticHit | None = None
    """To be served."""
    check: SemanticHit | None = None
    """To be compared with the upstream's answer; served as well, or not."""
    sought: "Sought | None" = None
    """None where the question has no vector: it cannot be remembered either."""
    tokens: int = 0
    """What a remote encoder counted."""

    @property
    def raw_usage(self) -> Mapping[str, Any]:
        """Return what the look-up adds to the raw usage of its call's event."""
        if not self.tokens:
            return {}
        return {"embedding": {"model": self.question.encoder, "tokens": self.tokens}}
