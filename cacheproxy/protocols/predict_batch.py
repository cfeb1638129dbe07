"""A `predict` request that is a list of items, each of which is answered for itself.

The model's policy says where the list stands in the request. In the answer it is looked for: the answer itself,
or the only one of its fields, that is a list of so many items; else what stands at the same place as in the
request. What an answer says beside its list is taken from the first item's; counts in its `usage` are shared
out over the items and summed again.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec

from cacheproxy.protocols import document
from cacheproxy.protocols.batch import divided, may_be_taken_apart, summed
from cacheproxy.protocols.request import InferenceRequest
from metering.provider_usage import UsageReport


def predict_batch(request: InferenceRequest, pointer: str) -> "PredictBatch | None":
    """Return the items of the list at a JSON Pointer; None where there is no list, or an empty one.

    A list of one item is a batch as well, so that every answer of an item has been looked for in the same way.
    """
    try:
        items = document.at(request.document, pointer)
    except LookupError:
        return None
    if not isinstance(items, list) or not items:
        return None
    many = may_be_taken_apart({"shared": document.put(request.document, pointer, [])}, len(items))
    return PredictBatch(request, pointer, items) if many else None


class PredictBatch:
    """A request for several items, as `cacheproxy.protocols.request.Batch` describes it."""

    def __init__(self, request: InferenceRequest, pointer: str, items: list[Any]) -> None:
        self._request = request
        self._pointer = pointer
        self._items = items

    @cached_property
    def items(self) -> Sequence[InferenceRequest]:
        """The request for each item alone."""
        return [self.asking([place]) for place in range(len(self._items))]

    def asking(self, places: Sequence[int]) -> InferenceRequest:
        """Return the request for these items alone."""
        chosen = [self._items[place] for place in places]
        asked = document.put(self._request.document, self._pointer, chosen)
        return msgspec.structs.replace(self._request, document=asked)

    def split(self, places: Sequence[int], answer: Any) -> list[bytes]:
        """Return an answer for each item, with its share of the usage.

        Raises:
            ValueError: no list of so many items can be told from all else in the answer, or in an item's.
        """
        place = self._place(answer, len(places))
        parts = document.at(answer, place)
        usages = divided(_usage(answer), self.weights(places))
        whole = [
            _with_usage(document.put(answer, place, [part]), usage)
            for part, usage in zip(parts, usages, strict=True)
        ]
        if any(self._place(item, 1) != place for item in whole):
            raise ValueError(f"of one item alone, the list at {place} could not be told from others")
        return [document.write(item) for item in whole]

    def weights(self, places: Sequence[int]) -> list[int]:
        """Return the size of each item, in bytes of JSON."""
        return [len(document.write(self._items[place])) for place in places]

    def join(self, answers: Sequence[bytes], usage: UsageReport) -> bytes:
        """Return one answer with every item's part; its usage is the sum of theirs, in the model's own words.

        Raises:
            ValueError: the answers do not fit together.
        """
        read = [msgspec.json.decode(answer) for answer in answers]
        places = {self._place(answer, 1) for answer in read}
        if len(places) != 1:
            raise ValueError("the items' answers have their lists at different places")
        (place,) = places
        joined = document.put(read[0], place, [document.at(answer, place)[0] for answer in read])
        return document.write(_with_usage(joined, summed([_usage(answer) for answer in read])))

    def _place(self, answer: Any, count: int) -> str:
        """Return where in an answer the list is.

        Raises:
            ValueError: nowhere, or nobody can tell.
        """
        if _is_list(answer, count):
            return ""
        fields = answer if isinstance(answer, dict) else {}
        fitting = [field for field, value in fields.items() if _is_list(value, count)]
        if len(fitting) == 1:
            return "/" + str(fitting[0]).replace("~", "~0").replace("/", "~1")
        try:
            found = document.at(answer, self._pointer)
        except LookupError:
            found = None
        if _is_list(found, count):
            return self._pointer
        raise ValueError(f"the answer has no list of {count} items")


def _is_list(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count


def _usage(answer: Any) -> Any:
    return answer.get("usage") if isinstance(answer, dict) else None


def _with_usage(answer: Any, usage: Any) -> Any:
    return {**answer, "usage": usage} if isinstance(usage, dict) else answer
