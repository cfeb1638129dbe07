from typing import Any

import pytest

from cacheproxy.protocols.metering_rule import InvalidMeteringRule, Measure, check_rule


def test_a_rule_names_measures_by_pool() -> None:
    rule = {"units": {"per_item": "/instances"}, "input": {"per_call": 0}}
    assert check_rule(rule) == {"units": Measure(per_item="/instances"), "input": Measure(per_call=0)}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ([], "Expected `object`"),
        ({"pages": {"per_call": 1}}, "Invalid enum value 'pages'"),
        ({"units": 1}, "Expected `object`"),
        ({"units": {}}, "units needs exactly one of pointer, per_call, per_item, per_kib"),
        ({"units": {"per_call": 1, "per_kib": 1}}, "units needs exactly one of"),
        ({"units": {"per_page": 1}}, "unknown field `per_page`"),
        ({"units": {"per_call": 1.5}}, "Expected `int"),
        ({"units": {"per_call": "1"}}, "Expected `int"),
        ({"units": {"per_call": -1}}, "`int` >= 0"),
        ({"units": {"pointer": "usage.pages"}}, "'usage.pages' is not a JSON Pointer"),
        ({"units": {"per_item": "$.rows"}}, "is not a JSON Pointer"),
    ],
)
def test_what_is_no_rule_is_refused(rule: Any, message: str) -> None:
    with pytest.raises(InvalidMeteringRule, match=message):
        check_rule(rule)
