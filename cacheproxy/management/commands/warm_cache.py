"""Warm the cache up for a tenant."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from cacheproxy.errors import CacheError, ContentNotKept
from cacheproxy.kept_requests import most_repeated
from cacheproxy.warm_up import End, Outcome, Progress, Request, read_requests, warm_up
from tenants.errors import TenantError
from tenants.models import Scope, Tenant
from tenants.selectors import tenant_by_slug
from tenants.services import issue_key, revoke_key

KEY_NAME = "cache warm-up"
KEY_LIFETIME = timedelta(days=1)
MAX_CONCURRENCY = 64
PROBLEMS_SHOWN = 5


class Command(BaseCommand):
    """Send a tenant's requests through the gateway, so that their answers are in the cache."""

    help = "Send a tenant's requests through the gateway, so that their answers are in the cache. The tenant pays."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument(
            "--file", type=Path, metavar="FILE.jsonl", help="as OpenAI's batch files: url, body"
        )
        source.add_argument("--most-repeated", type=int, metavar="N", help="those that the tenant asked most")
        parser.add_argument("--days", type=int, default=7, metavar="D", help="asked within these; default: 7")
        parser.add_argument(
            "--url", default="http://127.0.0.1:8000", help="the gateway's; default: %(default)s"
        )
        parser.add_argument(
            "--concurrency", type=int, default=4, metavar="N", help="calls at once; default: 4"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Warm up, and say what came of it."""
        concurrency = options["concurrency"]
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise CommandError(f"--concurrency is between 1 and {MAX_CONCURRENCY}.")
        try:
            tenant = tenant_by_slug(options["tenant"])
            requests = _requests(tenant, options)
        except (CacheError, TenantError, OSError) as error:
            raise CommandError(str(error)) from error
        ends = self._warm_up(tenant, requests, options["url"].rstrip("/"), concurrency)
        if ends["failed"]:
            raise CommandError(f"{ends['failed']} failed; the same command tries them again.")

    def _warm_up(self, tenant: Tenant, requests: list[Request], url: str, concurrency: int) -> Counter[End]:
        progress = Progress(settings.HOME / "warm-up" / f"{tenant.slug}.done")
        issued = issue_key(
            tenant=tenant,
            name=KEY_NAME,
            now=timezone.now(),
            scopes=[Scope.INFERENCE],
            expires_at=timezone.now() + KEY_LIFETIME,
        )
        ends: Counter[End] = Counter()
        problems: Counter[str] = Counter()
        done = sum(map(progress.is_done, requests))
        try:
            with tqdm(
                total=len(requests), initial=done, unit=" calls", disable=None, file=self.stderr
            ) as bar:

                def told(outcome: Outcome) -> None:
                    ends[outcome.end] += 1
                    problems[outcome.problem] += outcome.end == "failed"
                    bar.set_postfix({end: ends[end] for end in ends}, refresh=False)
                    bar.update()

                asyncio.run(
                    warm_up(
                        requests,
                        url=url,
                        key=issued.text,
                        concurrency=concurrency,
                        progress=progress,
                        told=told,
                    )
                )
        finally:
            revoke_key(api_key=issued.api_key, now=timezone.now())
            progress.close(finished=sum(ends.values()) + done == len(requests) and not ends["failed"])
            self._say(ends, done, problems)
        return ends

    def _say(self, ends: Counter[End], done: int, problems: Counter[str]) -> None:
        before = f" ({done} were done before)" if done else ""
        self.stdout.write(f"{ends['hit']} hits, {ends['miss']} misses, {ends['failed']} failed{before}.")
        for problem, count in (+problems).most_common(PROBLEMS_SHOWN):
            self.stderr.write(f"{count} × {problem}")


def _requests(tenant: Tenant, options: dict[str, Any]) -> list[Request]:
    """Return what is to be sent, each once.

    Raises:
        ContentNotKept: the tenant does not let its requests be kept.
        UnfitRequests: a line of the file is none.
        OSError: the file cannot be read.
    """
    if options["file"] is not None:
        with options["file"].open() as lines:
            return list({request.name: request for request in read_requests(lines)}.values())
    if not tenant.keep_content:
        raise ContentNotKept(
            f"The requests of {tenant.slug} are not kept: switch “keep content” on in the admin, or give --file."
        )
    since = timezone.now() - timedelta(days=options["days"])
    return most_repeated(tenant=tenant, count=options["most_repeated"], since=since)
