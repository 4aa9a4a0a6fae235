"""The mapping table: ``mapping.toml``, read and checked. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import cast

from xnat_bids_push.errors import MappingError
from xnat_bids_push.rules import Rules, read_rules


@dataclass(frozen=True, slots=True)
class Modality:
    """A row of ``[modalities]``: the type of its experiments."""

    session: str


@dataclass(frozen=True, slots=True)
class Datatype:
    """A row of ``[datatypes]``, with its formats: extension → resource."""

    name: str
    modality: str
    scan: str
    formats: Mapping[str, str]
    suffixes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tree:
    """A row of ``[trees]``: a folder of the root with a resource of its own."""

    resource: str
    optional: bool
    parts: bool


@dataclass(frozen=True, slots=True)
class Table:
    """The whole mapping table, checked."""

    modalities: Mapping[str, Modality]
    datatypes: Mapping[str, Datatype]
    attachments: Mapping[str, str]
    companions: Mapping[str, tuple[str, ...]]
    ignoring: frozenset[str]
    session_wide: frozenset[str]
    session_wide_acquisitions: Mapping[str, frozenset[str]]
    sidecar: str
    companion: str
    other: str
    manifest: str
    trees: Mapping[str, Tree]
    labels: Mapping[str, Mapping[str, str]]
    rules: Rules

    def resource_attributes(self, label: str) -> tuple[str, str]:
        """The format and the content that XNAT shows for a resource."""
        row = self.labels.get(label.partition("_")[0], {})
        return row.get("format", label), row.get("content", "RAW")


@cache
def default_table() -> Table:
    """The table that comes with the package."""
    return read_table(resources.files(__package__).joinpath("mapping.toml").read_text("utf-8"))


def read_table(text: str) -> Table:
    """A table from TOML.

    Raises:
        MappingError: naming every row that is wrong.
    """
    try:
        raw = tomllib.loads(text)
        table = _build(raw)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise MappingError(f"the mapping table cannot be read: {error!r}") from error
    faults = tuple(_faults(table))
    if faults:
        raise MappingError("the mapping table is wrong:\n" + "\n".join(faults))
    return table


def _build(raw: Mapping[str, object]) -> Table:
    rows = cast("Mapping[str, Mapping[str, Mapping[str, object]]]", raw)
    formats = {
        kind: {extension: label for label, extensions in table.items() for extension in _words(extensions)}
        for kind, table in rows["formats"].items()
    }
    datatypes = {
        name: Datatype(
            name,
            cast("str", row["modality"]),
            cast("str", row["scan"]),
            formats.get(cast("str", row["formats"]), {}),
            frozenset(_words(row.get("suffixes", []))),
        )
        for name, row in rows["datatypes"].items()
    }
    texts = cast("Mapping[str, Mapping[str, str]]", raw)
    lists = cast("Mapping[str, Mapping[str, object]]", raw)
    wide = rows["session_wide"].get("acquisitions", {})
    return Table(
        modalities={k: Modality(str(row["session"])) for k, row in rows["modalities"].items()},
        datatypes=datatypes,
        attachments=texts["attachments"],
        companions={k: tuple(_words(row)) for k, row in lists["companions"].items() if k != "ignoring"},
        ignoring=frozenset(_words(lists["companions"].get("ignoring", []))),
        session_wide=frozenset(_words(lists["session_wide"]["suffixes"])),
        session_wide_acquisitions={k: frozenset(_words(row)) for k, row in wide.items()},
        sidecar=texts["resources"]["sidecar"],
        companion=texts["resources"]["companion"],
        other=texts["resources"]["other"],
        manifest=texts["resources"]["manifest"],
        trees={
            name: Tree(str(row["resource"]), bool(row.get("optional", False)), bool(row.get("parts", False)))
            for name, row in rows["trees"].items()
        },
        labels=cast("Mapping[str, Mapping[str, str]]", raw.get("labels", {})),
        rules=read_rules(raw),
    )


def _words(value: object) -> list[str]:
    """A list of words; a word alone is none, or its letters would be taken for words."""
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return [str(word) for word in value]


RESOURCE_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""What XNAT takes as a resource's label."""


def _faults(table: Table) -> Iterable[str]:
    """What the parser cannot see: rows that name nothing, labels that XNAT refuses or would mix up."""
    for datatype in table.datatypes.values():
        if re.fullmatch(r"[a-z]+", datatype.name) is None:
            yield f"[datatypes] {datatype.name}: small letters only, or a scan's ID could not be taken apart again"
        if datatype.modality not in table.modalities:
            yield f"[datatypes] {datatype.name}: there is no modality {datatype.modality!r}"
        if not datatype.formats:
            yield f"[datatypes] {datatype.name}: there is no such table of formats, or it is empty"
        for label in datatype.formats.values():
            if label in {table.sidecar, table.companion, table.manifest}:
                yield f"[formats]: {label!r} is the resource of something else"
    for modality in table.modalities:
        if re.fullmatch(r"[A-Z]+", modality) is None:
            yield f"[modalities] {modality}: capital letters only, or a label could not be taken apart again"
    labels = [tree.resource for tree in table.trees.values()]
    labels += [label for datatype in table.datatypes.values() for label in datatype.formats.values()]
    labels += [table.sidecar, table.companion, table.other, table.manifest]
    for label in labels:
        if RESOURCE_LABEL.fullmatch(label) is None:
            yield f"{label!r}: a resource's label starts with a letter and holds letters, digits, _ and - only"
    taken = [tree.resource for tree in table.trees.values()] + [table.other, table.manifest]
    if len(set(taken)) < len(taken):
        yield "[trees]: two folders, or a folder and [resources], share a resource"
    for tree in table.trees.values():
        for label in taken:
            if tree.parts and label.startswith(f"{tree.resource}_"):
                yield f"[trees]: {label!r} looks like a part of {tree.resource!r}"
