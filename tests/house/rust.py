"""Functions and types of Rust files, found by regular expressions."""
import re
from typing import NamedTuple

# Comments and literals; a lifetime is not a literal.
COMMENT_OR_LITERAL = re.compile(
    r"""//[^\n]* | /\*.*?\*/
    | b?r(?P<hashes>\#*)".*?"(?P=hashes) | [bc]?"(?:\\.|[^"\\])*"
    | b?'(?:\\u\{[^}]*\} | \\x.. | \\. | [^'\\\n])'""",
    re.DOTALL | re.VERBOSE,
)
FUNCTION = re.compile(r"\bfn\s+(\w+)")
TYPE = re.compile(r"^[ \t]*(?:pub(?:\([^)]*\))?\s+)?(?:struct|enum|union|trait|type)\s+(\w+)", re.MULTILINE)
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*mod\s+\w+\s*(?=\{)")
# What an associated type stands in.
BLOCK = re.compile(r"^[ \t]*(?:pub(?:\([^)]*\))?\s+)?(?:unsafe\s+)?(?:impl|trait)\b[^{;]*", re.MULTILINE)


class Function(NamedTuple):
    """A function with a body, or without one in a trait: its length is 0 then."""

    name: str
    line: int
    length: int


def blank(text):
    """Returns the text with spaces in place of comments and literals: lines keep their numbers."""
    return COMMENT_OR_LITERAL.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def without_test_modules(text):
    """Returns blanked text without the test modules that are written in the same file."""
    kept, end = [], 0
    for found in TEST_MODULE.finditer(text):
        kept.append(text[end : found.start()])
        end = closing(text, found.end())
    return "".join([*kept, text[end:]])


def functions(text):
    """Returns the functions of blanked text."""
    return [function(text, found) for found in FUNCTION.finditer(text)]


def function(text, found):
    start = body(text, found.end())
    end = closing(text, start) if text[start] == "{" else found.start()
    length = text.count("\n", found.start(), end) + 1 if text[start] == "{" else 0
    return Function(found.group(1), text.count("\n", 0, found.start()) + 1, length)


def types(text):
    """Returns the names of the types that blanked text defines, without associated types."""
    blocks = [(found.end(), closing(text, found.end())) for found in BLOCK.finditer(text)]
    outside = (
        found for found in TYPE.finditer(text) if not any(start < found.start() < end for start, end in blocks)
    )
    return [found.group(1) for found in outside]


def body(text, at):
    """Returns where a function's body begins, or the `;` in place of it; `[u8; 4]` has none of them."""
    depth = 0
    while depth or text[at] not in "{;":
        depth += (text[at] in "([") - (text[at] in ")]")
        at += 1
    return at


def closing(text, at):
    """Returns the position after the brace that closes the next one."""
    depth = 0
    for found in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if found.group() == "{" else -1
        if depth == 0:
            return found.end()
    return len(text)
