"""Rebuild the budgets' counters from the command line."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from redis.exceptions import RedisError
from tqdm import tqdm

from billing.models import Budget
from billing.selectors.spend import days_until
from cacheproxy.counters import open_counters, rebuild_counter
from cacheproxy.errors import CounterError
from tenants.errors import TenantError
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    """Set the counters that guard budgets to what PostgreSQL says was spent. Traffic may go on."""

    help = "Set the counters that guard budgets to what PostgreSQL says was spent. Traffic may go on."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--tenant", metavar="SLUG", help="default: all")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Rebuild, and say what changed."""
        now = timezone.now()
        try:
            budgets = self._budgets(options["tenant"])
            days = sum(len(days_until(budget.period_at(now), now)) for budget in budgets)
            with (
                open_counters(settings.REDIS_URL) as counters,
                tqdm(total=days, unit=" days", disable=None, file=self.stderr) as bar,
            ):
                for budget in budgets:
                    rebuilt = rebuild_counter(budget=budget, now=now, counters=counters, on_day=bar.update)
                    if rebuilt.before != rebuilt.after:
                        self.stdout.write(f"~ {budget}: {rebuilt.before:f} → {rebuilt.after:f}")
        except (TenantError, CounterError) as error:
            raise CommandError(str(error)) from error
        except RedisError as error:
            raise CommandError(f"Redis does not answer ({error}). Check REDIS_URL and the server.") from error
        self.stdout.write(f"{len(budgets)} counters are as PostgreSQL says.")

    def _budgets(self, slug: str | None) -> list[Budget]:
        guarded = Budget.objects.exclude(hard_amount=None).select_related("tenant", "api_key")
        return list(guarded if slug is None else guarded.filter(tenant=tenant_by_slug(slug)))
