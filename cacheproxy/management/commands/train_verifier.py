"""Train the verifier of semantic hits."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cacheproxy.semantic.budget.rules import LEAST_SCORE
from cacheproxy.semantic.errors import EncoderMissing
from cacheproxy.semantic.verifier import DEFAULT_MODEL


class Command(BaseCommand):
    """Cross-validate, choose the threshold, train on everything, write the model and its card."""

    help = "Train the verifier of semantic hits from labelled pairs; the same seed writes the same bytes."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--pairs",
            type=Path,
            required=True,
            metavar="FILE",
            help="JSON lines with a, b and duplicate (0 or 1), perhaps compressed by gzip",
        )
        parser.add_argument(
            "--source", default="labelled pairs", help="where the pairs are from, for the card"
        )
        parser.add_argument(
            "--taught",
            type=Path,
            metavar="FILE",
            help="groups of wordings that teach as well (default: those that ship)",
        )
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--folds", type=int, default=5, help="of the cross-validation")
        parser.add_argument(
            "--budget",
            type=float,
            default=0.01,
            help="wrong hits allowed, a share of the look-ups (default 0.01)",
        )
        parser.add_argument(
            "--wrong-of-hits",
            type=float,
            default=0.05,
            help="wrong hits allowed, a share of the hits (default 0.05)",
        )
        parser.add_argument(
            "--rewordings",
            type=float,
            default=0.2,
            help="the share of look-ups that reword what is stored (default 0.2)",
        )
        parser.add_argument(
            "--near-misses",
            type=float,
            default=0.05,
            help="the share of look-ups whose best candidate is another question of the same subject (default 0.05)",
        )
        parser.add_argument(
            "--output", type=Path, default=DEFAULT_MODEL, metavar="FILE", help="the model; its card beside it"
        )
        parser.add_argument(
            "--plot", type=Path, metavar="FILE", help="draw error against duplicates hit (.svg or .png)"
        )
        parser.add_argument(
            "--vectors",
            type=Path,
            default=Path("var/encoder"),
            metavar="FOLDER",
            help="where vectors and the encoder's graph are kept",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Train."""
        try:
            from cacheproxy.semantic.card import Limits, Traffic
            from cacheproxy.semantic.minilm.encoder import LocalEncoder
            from cacheproxy.semantic.minilm.files import wheel
            from cacheproxy.semantic.trainer import Plan, train
            from cacheproxy.semantic.training import TAUGHT, vocabulary
        except (EncoderMissing, ImportError) as error:
            raise CommandError(f"Training takes the local encoder and lightgbm: {error}") from error
        encoder = LocalEncoder.open(options["vectors"])
        plan = Plan(
            pairs=options["pairs"],
            source=options["source"],
            taught=options["taught"] or TAUGHT,
            seed=options["seed"],
            folds=options["folds"],
            traffic=Traffic(options["rewordings"], options["near_misses"]),
            limits=Limits(options["budget"], options["wrong_of_hits"]),
            least=LEAST_SCORE,
            output=options["output"],
            plot=options["plot"],
            vectors=options["vectors"],
        )
        try:
            self.stdout.write(train(plan, list(vocabulary(wheel().vocabulary)), encoder, self._say))
        except (OSError, ValueError, KeyError) as error:
            raise CommandError(str(error)) from error
        finally:
            encoder.close()

    def _say(self, line: str) -> None:
        self.stderr.write(line)
        self.stderr.flush()
