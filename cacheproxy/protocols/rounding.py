"""Numbers rounded before they are keyed, where a model's policy wants inputs that nearly agree to be the same.

Only floating-point numbers are: whole ones are ids, tokens and sizes. `digits` counts decimal places. What rounds
to zero is positive zero, and what is no number stays as it is.
"""

import struct
from collections.abc import Mapping
from typing import Any

_CODES: Mapping[str, str] = {"FP16": "e", "FP32": "f", "FP64": "d"}
"""Of `struct`. BF16 is not among them: its eight bits of precision are rounding enough."""


def rounded(value: Any, digits: int) -> Any:
    """Return a JSON value with each of its floats rounded, the given one unchanged."""
    kind = type(value)
    if kind is float:
        return round(value, digits) + 0.0
    if kind is list:
        return [rounded(item, digits) for item in value]
    if kind is dict:
        return {name: rounded(item, digits) for name, item in value.items()}
    return value


def rounded_bytes(content: memoryview, datatype: str, digits: int) -> memoryview:
    """Return the little-endian elements of a tensor, rounded, as doubles; of other datatypes the content itself."""
    code = _CODES.get(datatype)
    if code is None:
        return content
    numbers = struct.unpack(f"<{len(content) // struct.calcsize(code)}{code}", content)
    return memoryview(struct.pack(f"<{len(numbers)}d", *[round(number, digits) + 0.0 for number in numbers]))
