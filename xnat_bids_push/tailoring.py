"""The mapping table as a user wants it. The door to jsonschema."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from xnat_bids_push.errors import ConfigError, MappingError
from xnat_bids_push.table import Table, build_table, default_table

Rows = Mapping[str, object]


def mapping_table(
    file: Path | str | None = None, *, session_types: Iterable[str] = (), one_experiment_per_session: bool = False
) -> Table:
    """The mapping table that comes with the package, changed as a user wants it.

    Args:
        file: TOML of the table's form; its rows and keys go over those of the table.
        session_types: ``eeg=xnat:mrSessionData`` or ``eeg,meg=xnat:mrSessionData``: types for experiments, by
            modality, combination or datatype.
        one_experiment_per_session: make one experiment of all of a session, and not one for each modality.

    Raises:
        ConfigError: with all that is wrong with the file, or what is wrong with the types.
    """
    table = _with_file(Path(file)) if file is not None else default_table()
    try:
        table = table.with_session_types(dict(_pairs(session_types)))
    except MappingError as error:
        raise ConfigError(f"--session-type: {error}") from error
    return table.one_per_session() if one_experiment_per_session else table


def _pairs(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names with their types: in ``eeg,meg=A,pet=B`` the type behind a name counts for those before it, too."""
    for text in texts:
        names: list[str] = []
        for word in text.split(","):
            name, _, xsi_type = (part.strip() for part in word.partition("="))
            names.append(name)
            if xsi_type:
                yield from ((one, xsi_type) for one in names)
                names = []
        if names:
            raise ConfigError(f"--session-type {text}: {names[-1]!r} has no type: write {names[-1] or 'eeg'}=xnat:…")


# ------------------------------------------------------------------ a file of one's own


def _with_file(path: Path) -> Table:
    own = _read(path)
    both = _laid_over(_default_rows(), own)
    faults = dict.fromkeys([*_shape_faults(own, missing=False), *_shape_faults(both, missing=True)])
    if faults:
        raise ConfigError("\n".join([f"{path} is wrong:", *faults]))
    try:
        return build_table(both, str(path))
    except MappingError as error:
        raise ConfigError(str(error)) from error


def _read(path: Path) -> Rows:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"the mapping file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise ConfigError(f"{path} is no TOML: {error}") from error


@cache
def _default_rows() -> Rows:
    return tomllib.loads(resources.files(__package__).joinpath("mapping.toml").read_text("utf-8"))


@cache
def _schema() -> Rows:
    return cast("Rows", json.loads(resources.files(__package__).joinpath("mapping.schema.json").read_text("utf-8")))


_WHOLE_ROWS = ("fields",)
"""Tables whose rows are replaced whole: a value comes either from somewhere, or is given."""


def _laid_over(base: Rows, own: Rows, levels: int = 9) -> Rows:
    """Both, key by key, as many levels of tables down; where both have a key, the second one's value counts."""
    merged = {**base}
    for key, value in own.items():
        known, below = base.get(key), 1 if key in _WHOLE_ROWS else levels - 1
        both = isinstance(known, Mapping) and isinstance(value, Mapping) and levels
        merged[key] = _laid_over(cast("Rows", known), cast("Rows", value), below) if both else value
    return merged


def _shape_faults(rows: Rows, *, missing: bool) -> Iterator[str]:
    """What the schema does not allow; what is `missing` is judged by itself, as a user's file may hold a part only."""
    for error in Draft202012Validator(_schema()).iter_errors(rows):
        if (error.validator == "required") is missing:
            yield from (f"{_place(error)}{fault}" for fault in _words(error))


def _place(error: ValidationError) -> str:
    table, *keys = [str(key) for key in error.absolute_path if isinstance(key, str)] or [""]
    return f"{' '.join([f'[{table}]', *keys])}: " if table else ""


def _words(error: ValidationError) -> Iterator[str]:
    """A fault, and what would be none."""
    schema, value, wanted = cast("Rows", error.schema), cast("object", error.instance), error.validator_value
    match error.validator:
        case "additionalProperties":
            known = list(cast("Rows", schema["properties"]))
            yield from (
                f"there is no {key!r}: {_advice(key, known)}" for key in cast("Rows", value) if key not in known
            )
        case "required":
            yield from (f"{key!r} is missing" for key in cast("list[str]", wanted) if key not in cast("Rows", value))
        case "const":
            yield f"{value!r} is not {wanted!r}"
        case _:
            yield f"{value!r} is not {schema.get('title') or _KINDS[str(schema['type'])]}"


def _advice(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


_KINDS = {"number": "a number", "string": "a text", "array": "a list", "object": "a table", "boolean": "true or false"}
