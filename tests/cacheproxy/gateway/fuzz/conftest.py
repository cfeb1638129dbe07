"""One live gateway for each module."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.cacheproxy.gateway.fuzz.live import Live, live
from tests.faults.conftest import emptied, servers
from tests.faults.stage import Servers

__all__ = ["servers"]

settings.register_profile(
    "live",
    deadline=None,
    max_examples=150,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)


@pytest.fixture(scope="module")
def gateway(servers: Servers) -> Iterator[Live]:
    """Give a gateway that serves every surface."""
    with emptied(servers), live(servers) as served:
        yield served
