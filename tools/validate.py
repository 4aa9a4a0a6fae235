"""Runs the official BIDS validator on whole datasets, as a push does.

    python -m tools.validate FOLDER…

A folder that is not there is passed over. The exit code is 1 if one has errors.
"""

from __future__ import annotations

import sys
from pathlib import Path

from xnat_bids_push.validating import validate


def main(arguments: list[str]) -> int:
    """Validate each folder, and say what is wrong."""
    wrong = 0
    for folder in filter(Path.is_dir, map(Path, arguments)):
        issues = validate(folder)
        wrong += len(issues)
        print(f"{folder}: {'valid' if not issues else ''}", *issues, sep="\n  " if issues else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
