"""docs/failure-matrix.md, rendered from the tables: ``python -m tests.faults.document``."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.faults.matrix import FAULTS, Cell, Fault, Leaves, Outcome, World, cells
from tests.faults.sharing import SCENES, Scene

PATH = Path(__file__).resolve().parents[2] / "docs" / "failure-matrix.md"
OPENING = """# What becomes of a call when something fails

<!-- Rendered from tests/faults/ by `python -m tests.faults.document`; a test sees that it is in step. -->

Each cell is a test: one call to a gateway on a socket, whose client leaves at the column's moment and whose upstream
fails in the row's way, with PostgreSQL, Redis, both or neither cut off. It says what a client that stays sees, the one
usage event of the call (its outcome and quality) or –, and whether the answer is **kept** for later calls. After all
cells of a table no lease, no task and no connection is left. What has no cell cannot be: the upstream failed before.

A client that leaves before its request is whole is nobody's call: the upstream is not asked, there is no event.
A stream that has begun cannot take its status back: it ends with an error event in place of its closing one.
"""


def render() -> str:
    """Return the document."""
    parts = [OPENING]
    for streamed, title in ((False, "A plain call"), (True, "A call for a stream")):
        for worlds in _alike(streamed):
            parts.append(f"## {title}: {', or '.join(worlds)}\n")
            parts.append("\n".join(_table(streamed, worlds[0])) + "\n")
    parts.append(SHARED)
    parts.append("\n".join(_scenes(SCENES)) + "\n")
    return "\n".join(parts)


def _alike(streamed: bool) -> list[list[World]]:
    """Return the worlds, those together in which everything comes to the same."""
    groups: dict[tuple[str, ...], list[World]] = {}
    for world in World:
        groups.setdefault(tuple(_table(streamed, world)), []).append(world)
    return list(groups.values())


def _table(streamed: bool, world: World) -> Iterator[str]:
    possible = {cell: cell.outcome(world) for cell in cells(world) if cell.streamed is streamed}
    columns = [
        leaves
        for leaves in Leaves
        if any(cell.leaves is leaves and cell.fault.name != "well" for cell in possible)
    ]
    yield "| the upstream | the client " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for fault in FAULTS:
        cellular = [_cell(possible.get(Cell(streamed, fault, leaves)), leaves) for leaves in columns]
        if any(cellular):
            yield f"| {fault.words} | " + " | ".join(cellular) + " |"


def _cell(outcome: Outcome | None, leaves: Leaves) -> str:
    if outcome is None:
        return ""
    said = (
        f"{outcome.status}{f' `{_code(outcome)}`' if outcome.code else ''}, "
        if leaves is Leaves.NEVER
        else ""
    )
    return f"{said}{outcome.event or '–'}{', **kept**' if outcome.kept else ''}"


def _code(outcome: Outcome) -> str:
    return "its own" if outcome.code == "of_its_own" else outcome.code


SHARED = """## One upstream call, several clients

Who asks what is being asked already listens to that call. The first who asks leads it and has the miss; who listened
has a `coalesced` event that names it, or none where it left before the first of the answer came. The same holds
whether PostgreSQL or Redis is away.
"""


def _scenes(scenes: Iterable[Scene]) -> Iterator[str]:
    yield "| asked for | the upstream | the leader | the follower | upstream calls | events |"
    yield "|---|---|---|---|---|---|"
    for scene in scenes:
        asked = " and ".join(
            "a stream" if streamed else "plain" for streamed in (scene.leader_streams, scene.follower_streams)
        )
        yield (
            f"| {asked} | {_words(scene.fault)} | {scene.leader_leaves}{_sees(scene.leader_sees)}"
            f" | {scene.follower_leaves}{_sees(scene.follower_sees)} | {scene.calls}"
            f" | {', '.join(scene.events) or '–'} |"
        )


def _words(name: str) -> str:
    faults: dict[str, Fault] = {fault.name: fault for fault in FAULTS}
    return faults[name].words


def _sees(status: int) -> str:
    return f": {status}" if status else ""


if __name__ == "__main__":
    PATH.write_text(render())
