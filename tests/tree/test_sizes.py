"""A file over 600 lines is asked which two ideas live there; the answer stands here, or the file is split."""

from __future__ import annotations

from tests.tree.sources import PACKAGES, committed_files, relative

LINES_MAX = 600

# Path → why it is one idea after all. An entry that is no longer needed fails.
LONG_AND_ONE_IDEA: dict[str, str] = {}


def test_long_files_have_a_reason() -> None:
    folders = [relative(folder) for folder in PACKAGES.values()]
    lengths = {
        relative(path): len(path.read_text().splitlines())
        for path in committed_files(".py")
        if any(relative(path).startswith(f"{folder}/") for folder in folders)
    }
    largest = sorted(lengths.items(), key=lambda item: -item[1])[:10]
    print("the ten largest files:", *(f"{lines:5} {name}" for name, lines in largest), sep="\n")
    long = {name for name, lines in lengths.items() if lines > LINES_MAX}
    unexplained = sorted(long - set(LONG_AND_ONE_IDEA))
    assert not unexplained, f"over {LINES_MAX} lines: split them, or say in LONG_AND_ONE_IDEA why not: {unexplained}"
    assert not set(LONG_AND_ONE_IDEA) - long, "no longer long: strike these off"
