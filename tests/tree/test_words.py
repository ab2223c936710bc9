"""What is committed makes sense on any machine."""

from __future__ import annotations

import re

from tests.tree.sources import committed_files, relative

# Absolute paths into somebody's machine: a home folder, a work folder, an installation.
SOMEBODYS_PATH = re.compile(r"""(?<![\w.%$}>/-])/(?:root|work|opt|Users/\w+|home/\w+)/[\w.]""")


def test_no_path_of_one_machine() -> None:
    found = []
    for path in committed_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if SOMEBODYS_PATH.search(line):
                found.append(f"{relative(path)}:{number}: {line.strip()[:120]}")
    assert not found


def test_the_search_for_such_paths_finds_them() -> None:
    assert SOMEBODYS_PATH.search('open("/' + 'home/ada/notes")')
    assert not SOMEBODYS_PATH.search("https://example.com/home/ada/notes")
