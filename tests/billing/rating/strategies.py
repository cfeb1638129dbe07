"""What hypothesis draws for prices, percentages and quantities."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st

from billing.rating.unit import PERS, UnitPrice

AMOUNTS = st.integers(0, 10**24 - 1).map(lambda digits: Decimal(digits).scaleb(-12))
PER = st.sampled_from(PERS)
UNIT_PRICES = st.builds(UnitPrice, AMOUNTS, PER)
PERCENTS = st.integers(0, 1_000_000).map(lambda digits: Decimal(digits).scaleb(-4))
QUANTITIES = st.integers(0, 2**63 - 1)
INSTANTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
