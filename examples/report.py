"""The one table that the demo prints: what was called, what it cost, what it saved, how fast it was."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from statistics import median
from typing import NamedTuple

from billing.money import to_decimal
from examples.account import Bill
from examples.calls import Answer


class Column(NamedTuple):
    """A tenant's calls and invoice, or those of all tenants."""

    answers: Sequence[Answer]
    bills: Sequence[Bill]

    def sum_of(self, amount: Callable[[Bill], int]) -> int:
        """Return a figure of the invoice, over all invoices."""
        return sum(map(amount, self.bills))

    @property
    def tokens_charged(self) -> Decimal:
        """Return the tokens to pay for."""
        return sum((bill.tokens_charged for bill in self.bills), Decimal(0))

    @property
    def reduction_percent(self) -> Decimal:
        """Return by how much the tokens to pay for fall against no cache."""
        return 100 - 100 * self.tokens_charged / self.sum_of(lambda bill: bill.tokens_served)

    def money(self, amount: Callable[[Bill], int]) -> str:
        """Return a sum of money of the invoice, with its currency."""
        currency = self.bills[0].currency
        return f"{to_decimal(self.sum_of(amount), currency)} {currency}"

    def p50(self, *, hits: bool) -> str:
        """Return the median latency of hits or of misses, end to end."""
        latencies = [answer.latency_ms for answer in self.answers if answer.is_hit == hits]
        return f"{median(latencies):.1f} ms" if latencies else "none"

    def cells(self) -> list[str]:
        """Return the figures in the order of `ROWS`."""
        hits = sum(answer.is_hit for answer in self.answers)
        return [
            f"{len(self.answers):,}",
            f"{hits:,}",
            f"{len(self.answers) - hits:,}",
            f"{self.sum_of(lambda bill: bill.tokens_served):,}",
            f"{self.sum_of(lambda bill: bill.tokens_computed):,}",
            f"{self.tokens_charged:,.0f}",
            self.money(lambda bill: bill.list_minor),
            self.money(lambda bill: bill.charged_minor),
            self.money(lambda bill: bill.saved_minor),
            f"{self.reduction_percent:.1f} %",
            self.p50(hits=True),
            self.p50(hits=False),
        ]


ROWS = (
    "Calls",
    "Hits",
    "Misses",
    "Tokens served",
    "Tokens computed",
    "Tokens charged",
    "List price",
    "Charged",
    "Saved",
    "Fewer tokens charged",
    "p50 of hits",
    "p50 of misses",
)


def table(answers: Sequence[Answer], bills: Mapping[str, Bill]) -> str:
    """Return the table: a column for each tenant, and one for all of them."""
    columns = {
        tenant: Column([answer for answer in answers if answer.upload.tenant == tenant], [bill])
        for tenant, bill in bills.items()
    }
    columns["total"] = Column(answers, list(bills.values()))
    lines = [
        ["", *columns],
        *map(list, zip(ROWS, *(column.cells() for column in columns.values()), strict=True)),
    ]
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as a table: the first line is its head, the first column is words, the rest are figures."""
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    rule = "─" * (sum(widths) + 3 * len(widths) - 3)
    first, *rest = (_line(line, widths) for line in lines)
    return "\n".join([rule, first, rule, *rest, rule])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures = cells
    aligned = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
    return "   ".join([name.ljust(widths[0]), *aligned])
