"""What ``.bidsignore`` declares to be no BIDS: it is pushed with the rest, and becomes no scan. The door to pathspec.

The validator's own defaults (``.*``, ``code/``, ``sourcedata/``, …) name what cannot be a recording anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pathspec import GitIgnoreSpec

Ignores = Callable[[str], bool]
"""Tells of a root-relative path whether it is ignored; a folder's ends in "/"."""


def ignore_nothing(path: str) -> bool:
    """Nothing is ignored."""
    return False


def read_ignores(text: str) -> tuple[Ignores, tuple[str, ...]]:
    r"""What a ``.bidsignore`` ignores, and its lines that are no patterns. They are those of gitignore.

    >>> ignores, wrong = read_ignores("*_ct.nii\n!sub-02/**\nend\\")
    >>> [ignores(path) for path in ("sub-01/ct/sub-01_ct.nii", "sub-02/ct/sub-02_ct.nii", "README")], wrong
    ([True, False, False], ('end\\',))
    """
    lines = text.removeprefix("\ufeff").splitlines()
    wrong = tuple(line for line in lines if not _is_pattern(line))
    spec = GitIgnoreSpec.from_lines(_without(lines, wrong))
    return spec.match_file, wrong


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _without(lines: Iterable[str], wrong: Iterable[str]) -> Iterator[str]:
    left_out = frozenset(wrong)
    return (line for line in lines if line not in left_out)
