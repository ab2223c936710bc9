"""Print the page of the gallery: ``python -m tests.shadow.gallery > migration_guides/gallery.md``."""

from __future__ import annotations

import sys

from tests.shadow.gallery.page import find, gallery, page


def main() -> int:
    found = {name: find(shape) for name, shape in gallery().items()}
    missed = [name for name, error in found.items() if error is None]
    if missed:
        print(f"not found: {', '.join(missed)}", file=sys.stderr)
        return 1
    print(page({name: error for name, error in found.items() if error is not None}), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
