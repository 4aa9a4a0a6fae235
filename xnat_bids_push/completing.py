"""What the shell offers when a user presses Tab: names of servers, and what there is in the dataset that was typed.

Nobody waits for it: it reads the settings file and the names of folders, asks no server, and offers nothing in doubt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import typer

from xnat_bids_push.errors import XnatBidsError
from xnat_bids_push.names import is_session, is_subject


def servers(context: typer.Context, incomplete: str) -> list[str]:
    """The servers that the settings file names."""
    from xnat_bids_push.config import read_preferences, settings_file

    given = context.params.get("config")
    with suppress(XnatBidsError):
        preferences = read_preferences(settings_file(Path(str(given)) if given else None))
        return [name for name in preferences.sites if name.startswith(incomplete)]
    return []


def participants(context: typer.Context, incomplete: str) -> list[str]:
    """The participants of the dataset, with or without their prefix, as the user began."""
    return _labels(filter(is_subject, _folders(_root(context))), "sub-", incomplete)


def sessions(context: typer.Context, incomplete: str) -> list[str]:
    """The sessions of the dataset, or of the participants that were chosen."""
    root = _root(context)
    chosen = {str(one).removeprefix("sub-") for one in context.params.get("participant_label") or ()}
    subjects = [name for name in _folders(root) if is_subject(name) and (not chosen or name[4:] in chosen)]
    found = {name for subject in subjects for name in _folders(root / subject if root else None)}
    return _labels(filter(is_session, found), "ses-", incomplete)


def datatypes(incomplete: str) -> list[str]:
    """The datatypes of BIDS."""
    from xnat_bids_push.table import default_table

    return [name for name in default_table().datatypes if name.startswith(incomplete)]


def derivatives(context: typer.Context, incomplete: str) -> list[str]:
    """The folders of derivatives, and all of them."""
    root = _root(context)
    names = ["all", *_folders(root / "derivatives" if root else None)]
    return [name for name in names if name.startswith(incomplete)]


def _root(context: typer.Context) -> Path | None:
    # Before an option that lacks its value, what was typed has not yet become parameters.
    given = context.params.get("root") or next(iter(context.args), "")
    return Path(str(given)).expanduser() if given else None


def _folders(folder: Path | None) -> Iterator[str]:
    with suppress(OSError):
        yield from (one.name for one in folder.iterdir() if one.is_dir()) if folder is not None else ()


def _labels(names: Iterator[str], prefix: str, incomplete: str) -> list[str]:
    plain = sorted(name.removeprefix(prefix) for name in names)
    labels = [*plain, *(f"{prefix}{label}" for label in plain if incomplete)]
    return [label for label in labels if label.startswith(incomplete)]


# ------------------------------------------------------------------ the plain form

VARIABLE = "_BIDS2XNAT_COMPLETE"
"""Set while a shell asks what there is to complete."""


def plain_form(environment: Mapping[str, str], commands: Collection[str]) -> dict[str, str]:
    """What a shell asks about ``bids2xnat ROOT …``, asked about ``bids2xnat push ROOT …``, which is the same.

    >>> plain_form({"COMP_WORDS": "bids2xnat study P --js", "COMP_CWORD": "3"}, ["push"])
    {'COMP_WORDS': 'bids2xnat push study P --js', 'COMP_CWORD': '4'}
    """
    found: dict[str, str] = {}
    for name in ("COMP_WORDS", "_TYPER_COMPLETE_ARGS"):
        words = re.match(r"(\S+\s+)((?:[^\s\\]|\\.)+)\s", environment.get(name, ""))
        if words and words[2] not in commands and not words[2].startswith("-"):
            found[name] = f"{words[1]}push {environment[name][words.end(1) :]}"
    if "COMP_WORDS" in found:
        found["COMP_CWORD"] = str(int(environment.get("COMP_CWORD", "0")) + 1)
    return found
