from metering.tokens import BILLABLE, POOLS, UNITS, TokenPools


def test_pools_are_named_in_one_order() -> None:
    assert TokenPools._fields == POOLS
    assert (*POOLS, UNITS) == BILLABLE


def test_given_is_all_but_the_output() -> None:
    pools = TokenPools(input=1, cache_read=20, cache_write=300, cache_write_1h=4000, output=50000)
    assert pools.given == 4321
    assert pools.total == 54321


def test_a_call_that_says_nothing_used_nothing() -> None:
    assert TokenPools() == (0, 0, 0, 0, 0)
