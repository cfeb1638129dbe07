import msgspec
import pytest

from cacheproxy.protocols.oip.paths import LIVE, Place, find_place, ready, server_metadata


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/v2", Place("server")),
        ("/v2/health/live", Place("live")),
        ("/v2/health/ready", Place("ready")),
        ("/v2/models/m", Place("model", "m")),
        ("/v2/models/m/ready", Place("model_ready", "m")),
        ("/v2/models/m/infer", Place("infer", "m")),
        ("/v2/models/m/versions/2", Place("model", "m", "2")),
        ("/v2/models/m/versions/2/ready", Place("model_ready", "m", "2")),
        ("/v2/models/m/versions/2/infer", Place("infer", "m", "2")),
        ("/v2/models/team/m/versions/2/infer", Place("infer", "team/m", "2")),
        ("/v2/models/infer", Place("model", "infer")),
        ("/v2/models/infer/infer", Place("infer", "infer")),
        ("/v2/models/m/versions", Place("model", "m/versions")),
    ],
)
def test_a_path_asks_for_something(path: str, place: Place) -> None:
    assert find_place(path) == place


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/v2/",
        "/v2/health",
        "/v2/models",
        "/v2/models/",
        "/v1/models/m/infer",
        "/v2/models//infer",
        "/v2/models/m/versions//infer",
        "/v2/models/m/versions/1/2/infer",
        "/v2/repository/index",
    ],
)
def test_or_for_nothing(path: str) -> None:
    assert find_place(path) is None


def test_who_answers_and_how() -> None:
    assert [Place("server").needs_key, Place("live").needs_key, Place("model", "m").needs_key] == [
        False,
        False,
        True,
    ]
    assert (Place("infer", "m").method, Place("model_ready", "m").method) == ("POST", "GET")
    assert Place("model", "m", "2").upstream_path("a b/c") == "/v2/models/a%20b%2Fc/versions/2"
    assert Place("model_ready", "m").upstream_path("small") == "/v2/models/small/ready"


def test_what_the_gateway_says_of_itself() -> None:
    assert msgspec.json.decode(server_metadata("1.2.3")) == {
        "name": "zerorate",
        "version": "1.2.3",
        "extensions": ["binary_tensor_data"],
    }
    assert msgspec.json.decode(LIVE) == {"live": True}
    assert ready(is_ready=True) == (200, b'{"ready":true}')
    assert ready(is_ready=False) == (503, b'{"ready":false}')
