"""The programs in docs/clients.md."""

import re
from pathlib import Path

from tests.clients.stage import Stage

ROOT = Path(__file__).parent.parent.parent
_PAGE = (ROOT / "docs" / "clients.md").read_text()
_BLOCKS = re.findall(r"^```python\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)


def program(stage: Stage, *parts: str) -> str:
    """Return the blocks that have these words in them, one after the other, as they run on this stage."""
    code = "\n".join(next(block for block in _BLOCKS if part in block) for part in parts)
    return code.replace("https://gateway.example", stage.url).replace("zr_live_…", stage.key)
