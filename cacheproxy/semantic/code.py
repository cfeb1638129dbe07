"""What a text says byte for byte: code, quotations, identifiers, addresses, formulas. Plain."""

import re

QUOTED = re.compile(
    r"```(.+?)```|`([^`]+)`|\"([^\"]+)\"|“([^”]+)”|「([^」]+)」|(?<!\w)'([^']{2,})'(?!\w)", re.DOTALL
)
ENDINGS = (
    "com|org|net|io|edu|gov|co|uk|info|dev|app|py|js|ts|jsx|tsx|html|css|json|xml|yaml|yml|toml|ini|txt|csv|pdf|docx?|xlsx?|exe|dll|sh|bat"
    "|c|cc|cpp|h|hpp|java|go|rs|php|rb|sql|md|zip|tar|gz|jpe?g|png|gif|svg|mp3|mp4|apk|jar|log|cfg|conf|lock|ipynb"
)
IDENTIFIER = re.compile(
    rf"""https?://\S+ | www\.\S+ | [\w.+-]+@[\w-]+\.[\w.]+      # addresses
    | (?<![\w-])--?[a-z][\w-]*                                  # flags
    | \w*[^\W_]_+\w+ | \b\w+(?:::|->)\w+ | \b\w+\(\)            # names in code
    | (?<!\w)[~.]*/(?:[\w.-]+/?)+ | \b[a-z]:\\\S+               # paths
    | \b(?:[\w-]+\.)+(?:{ENDINGS})\b                            # files and hosts
    | \b[a-z]\+\+ | \b[a-z]\#                                   # C++, C#
    | \b[a-z]+\d[a-z\d]*\b | \b\d+[a-z]+\d[a-z\d]*\b            # words with figures
    | \$[a-z_]\w* | \b0x[0-9a-f]+\b""",
    re.VERBOSE | re.IGNORECASE,
)
FORMULA = re.compile(
    r"[\w.)]+\s*(?:(?:[=<>^*×÷≤≥≠±]+)\s*[\w.(-]+|\+\s*[\d(]+[\w.]*|(?<=\d)(?:\s+-\s+|\s*/\s*)\d[\w.]*|(?<=\))\s*[-+/]\s*[\w.(]+)"
    r"|[√∑∫]\s*[\w.(]+|\b\w\s*[-+/*]\s*\w\b(?=\s*[=?.]|$)"
)
SPACE = re.compile(r"\s+")
GAPS = re.compile(r"[\s.-]+")


def quotations(text: str) -> list[str]:
    """Return what *text* quotes or marks as code, folded, without the marks."""
    found = ("".join(groups) for groups in QUOTED.findall(text))
    return [quoted for part in found if (quoted := SPACE.sub(" ", part).strip(" .,?!").casefold())]


def identifiers(text: str) -> list[str]:
    """Return identifiers, addresses, paths, flags and words with figures inside, squeezed, sorted."""
    return sorted({squeeze(match[0].rstrip(".,?!").casefold()) for match in IDENTIFIER.finditer(text)})


def squeeze(text: str) -> str:
    """Return *text* without spaces, hyphens and stops, so that "iPhone 6", "iPhone-6" and "iPhone6" are one."""
    return GAPS.sub("", text)


def formulas(text: str) -> list[str]:
    """Return every operator of *text* with what stands on its sides, without spaces, in order."""
    return [SPACE.sub("", match[0]).casefold() for match in FORMULA.finditer(text)]
