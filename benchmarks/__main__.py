"""Run benchmarks, one after the other; each prints a table and writes JSON to ``var/bench/``.

Without names, those that take two minutes at most.
"""

import argparse
from types import ModuleType

from benchmarks import (
    cache_policies,
    first_token,
    gateway_hits,
    gateway_misses,
    litellm,
    memory,
    redis_hits,
    semantic_budget,
    semantic_hits,
    semantic_quality,
    semantic_search,
)

SECONDS = {
    gateway_hits: 90,
    gateway_misses: 120,
    first_token: 70,
    redis_hits: 40,
    cache_policies: 50,
    semantic_search: 60,
    semantic_hits: 90,
    semantic_quality: 60,
    semantic_budget: 120,
    litellm: 180,
    memory: 300,
}
"""What each takes on two cores, once what it needs is installed."""
BRIEF_SECONDS = 120
BY_NAME = {module.__name__.rpartition(".")[2]: module for module in SECONDS}


def main() -> None:
    """Run those that are named."""
    options = _parser().parse_args()
    left_out = [] if options.all or options.names else [name for name in BY_NAME if not _is_brief(name)]
    names = options.names or [name for name in BY_NAME if name not in left_out]
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}, about {SECONDS[BY_NAME[name]]} s", flush=True)
        BY_NAME[name].main()
    if left_out:
        print(f"Left out, for they take longer: {', '.join(left_out)}. Name them, or give --all.")


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, BY_NAME))
    known = [
        f"  {name:{width}}  {SECONDS[module]:>4} s  {_title(module)}" for name, module in BY_NAME.items()
    ]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(
            ["names:", *known, "", "python -m benchmarks.NAME --help tells what else each can do."]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", type=_known, help="which; see below")
    parser.add_argument("--all", action="store_true", help="those that take longer, too")
    return parser


def _known(name: str) -> str:
    if name not in BY_NAME:
        raise argparse.ArgumentTypeError(f"there is no {name}")
    return name


def _is_brief(name: str) -> bool:
    return SECONDS[BY_NAME[name]] <= BRIEF_SECONDS


def _title(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    main()
