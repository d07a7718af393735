"""Prints the figures of a tree next to those of other programs. Usage: measure.py [--list] TREE

Rules, those of the survey of commit 9132800 (issue 12):
- A function's length is its lines from `fn` to the closing brace. Tests count in the first row, and not in the second.
- Names are those of code that is not a test. Names that the language, std or serde prescribe do not count (PRESCRIBED);
  other methods of traits do. One word is a name without `_`, or a type with one capital.
- A type is a struct, enum, union, trait or alias; associated types are none. Types are counted by name.
- A file of tests is tests.rs, mock_tests.rs, or what is in a directory tests.
"""
import pathlib
import sys
import tomllib
from collections import Counter, defaultdict
from typing import NamedTuple

import rust

PRESCRIBED = set(
    "main new fmt from from_str try_from default drop next eq cmp partial_cmp hash deref clone serialize deserialize".split()
)

# Figures to compare with, and what issue 12 expects at most. Names, and functions with tests, are the survey's figures.
# What it did not measure was measured by this script at zincati be76c4a, hyperfine 327d5f4 and linkerd2 b24cd4059
# (policy-controller).
COLUMNS = ["", "this tree", "9132800", "zincati", "hyperfine", "linkerd", "expected"]
REFERENCE = {
    "function length, median/p90/p99/max": ["8/21/42/140", "12/32/73/103", "11/47/326/392", "17/79/143/346", "8/21"],
    "  without tests": ["7/20/37/140", "11/31/65/103", "10/40/326/392", "14/53/132/346", ""],
    "one-word function names": ["77 %", "14 %", "18 %", "27 %", "33 %"],
    "function names shared with another": ["60 %", "30 %", "30 %", "53 %", ""],
    "mean length of a function name": ["6.6", "14.7", "18.3", "14.2", ""],
    "one-word type names": ["83 %", "22 %", "29 %", "22 %", ""],
    "type names defined in several files": ["16 %", "9 %", "2 %", "12 %", "5 %"],
    "  names": ["65 of 417", "", "", "", ""],
    "files": ["234", "33", "37", "111", ""],
    "lines": ["36438", "6930", "4980", "31611", ""],
    "file length, median/p90/max": ["125/296/638", "149/448/750", "67/414/597", "133/570/3215", ""],
    "entries at the top of src/": ["41", "13", "12", "", "14"],
    "direct dependencies": ["46", "38", "12", "", ""],
    "packages in the lock file": ["345", "410", "173", "", ""],
}


class Source(NamedTuple):
    path: pathlib.Path
    text: str
    is_test: bool


def main():
    *options, tree = sys.argv[1:]
    tree = pathlib.Path(tree)
    sources = [read(path, tree) for path in sorted(tree.glob("src/**/*.rs"))]
    print_table(figures(tree, sources))
    if "--list" in options:
        print_lists(sources)


def read(path, tree):
    inner = path.relative_to(tree)
    is_test = path.name in ("tests.rs", "mock_tests.rs") or "tests" in inner.parts
    return Source(inner, path.read_text(), is_test)


def figures(tree, sources):
    """Returns this tree's figures, in the order of REFERENCE."""
    code = [rust.without_test_modules(rust.blank(source.text)) for source in sources if not source.is_test]
    all_functions = [each for source in sources for each in rust.functions(rust.blank(source.text))]
    functions = [each for text in code for each in rust.functions(text)]
    return [
        percentiles([each.length for each in all_functions if each.length], 0.5, 0.9, 0.99),
        percentiles([each.length for each in functions if each.length], 0.5, 0.9, 0.99),
        *function_names([each.name for each in functions if each.name not in PRESCRIBED]),
        *type_names(types_by_name(sources)),
        *file_sizes(sources),
        *layout(tree),
    ]


def function_names(names):
    count = Counter(names)
    return [
        share(sum("_" not in name for name in names), len(names)),
        share(sum(count[name] > 1 for name in names), len(names)),
        f"{sum(map(len, names)) / len(names):.1f}",
    ]


def type_names(types):
    shared = sum(len(paths) > 1 for paths in types.values())
    one_word = sum(sum(letter.isupper() for letter in name) <= 1 for name in types)
    return [share(one_word, len(types)), share(shared, len(types)), f"{shared} of {len(types)}"]


def file_sizes(sources):
    lines = [source.text.count("\n") for source in sources]
    return [str(len(sources)), str(sum(lines)), percentiles(lines, 0.5, 0.9)]


def layout(tree):
    packages = tomllib.loads((tree / "Cargo.lock").read_text())["package"]
    direct = tomllib.loads((tree / "Cargo.toml").read_text())["dependencies"]
    return [str(len(list((tree / "src").iterdir()))), str(len(direct)), str(len(packages))]


def types_by_name(sources):
    """Returns the files that define each type name, tests left out."""
    found = defaultdict(set)
    for source in sources:
        if not source.is_test:
            for name in rust.types(rust.without_test_modules(rust.blank(source.text))):
                found[name].add(str(source.path))
    return found


def percentiles(values, *shares):
    values = sorted(values)
    chosen = [values[min(len(values) - 1, int(len(values) * each))] for each in shares]
    return "/".join(str(value) for value in [*chosen, values[-1]])


def share(part, whole):
    return f"{100 * part / whole:.0f} %"


def print_table(measured):
    rows = [COLUMNS, *([name, mine, *others] for (name, others), mine in zip(REFERENCE.items(), measured, strict=True))]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for name, *cells in rows:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:]))
        print("  ".join([name.ljust(widths[0]), *aligned]).rstrip())


def print_lists(sources):
    print("\ntype names that several files define:")
    shared = {name: paths for name, paths in types_by_name(sources).items() if len(paths) > 1}
    for name, paths in sorted(shared.items(), key=lambda item: (-len(item[1]), item[0])):
        print(f"  {name}: {' '.join(sorted(paths))}")
    print("\nlongest functions:")
    for length, place, name in sorted(located_functions(sources), reverse=True)[:10]:
        print(f"  {length:4} {place} {name}")


def located_functions(sources):
    for source in sources:
        for each in rust.functions(rust.blank(source.text)):
            yield each.length, f"{source.path}:{each.line}", each.name


main()
