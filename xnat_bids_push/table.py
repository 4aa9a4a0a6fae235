"""The mapping table: ``mapping.toml``, read and checked. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import cast

from xnat_bids_push.errors import MappingError
from xnat_bids_push.labels import Labels, parse_template
from xnat_bids_push.rules import Rules, read_rules


@dataclass(frozen=True, slots=True)
class Modality:
    """A row of ``[modalities]``: the type of its experiments."""

    session: str


@dataclass(frozen=True, slots=True)
class Combination:
    """A row of ``[combinations]``: the type of an experiment that holds several modalities."""

    of: frozenset[str]
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


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The whole mapping table, checked. It is equal to itself alone, so that what it says can be remembered by it."""

    naming: Labels
    modalities: Mapping[str, Modality]
    combinations: Mapping[str, Combination]
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
    staging: str
    receipts: str
    trees: Mapping[str, Tree]
    labels: Mapping[str, Mapping[str, str]]
    rules: Rules

    def resource_attributes(self, label: str) -> tuple[str, str]:
        """The format and the content that XNAT shows for a resource."""
        row = self.labels.get(label) or self.labels.get(label.partition("_")[0], {})
        return row.get("format", label), row.get("content", "RAW")

    def session_type(self, modalities: Set[str]) -> str:
        """The type of an experiment that holds these modalities.

        >>> default_table().session_type({"EEG", "MR"}), default_table().session_type({"MR", "PET"})
        ('xnat:mrSessionData', 'xnat:petmrSessionData')
        """
        combined = (one.session for one in self.combinations.values() if one.of <= modalities)
        first = (one.session for name, one in self.modalities.items() if name in modalities)
        return next(combined, next(first, ""))

    def name_of_type(self, xsi_type: str) -> str:
        """The first modality or combination of a type."""
        rows: Mapping[str, Modality | Combination] = {**self.combinations, **self.modalities}
        return next((name for name, row in rows.items() if row.session == xsi_type), "")

    @property
    def session_types(self) -> frozenset[str]:
        """The types that experiments may have."""
        rows: Mapping[str, Modality | Combination] = {**self.combinations, **self.modalities}
        return frozenset(row.session for row in rows.values())

    def with_session_types(self, types: Mapping[str, str]) -> Table:
        """The same table, but with other types for some experiments, by modality, combination or datatype.

        Raises:
            MappingError: there is no such name, or one modality would have two types.
        """
        chosen: dict[str, str] = {}
        for name, xsi_type in types.items():
            datatype = self.datatypes.get(name.lower())
            key = datatype.modality if datatype else name.upper()
            if key not in self.modalities and key not in self.combinations:
                known = ", ".join((*self.modalities, *self.combinations, *self.datatypes))
                raise MappingError(f"there is no modality, combination or datatype {name!r}: there are {known}")
            if chosen.setdefault(key, xsi_type) != xsi_type:
                raise MappingError(f"{key} would be both {chosen[key]} and {xsi_type}: an experiment has one type")
        return replace(
            self,
            modalities={name: Modality(chosen.get(name, row.session)) for name, row in self.modalities.items()},
            combinations={
                name: replace(row, session=chosen.get(name, row.session)) for name, row in self.combinations.items()
            },
        )

    def one_per_session(self) -> Table:
        """The same table, but with one experiment for all modalities of a session."""
        if self.naming.one_per_session:
            return self
        experiment = self.naming.experiment
        return replace(self, naming=replace(self.naming, experiment=experiment.without_modality(), other=experiment))


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
        return build_table(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"the mapping table cannot be read: {error}") from error


def build_table(raw: Mapping[str, object], source: str = "the mapping table") -> Table:
    """A table from what TOML says; `source` is what a fault is said to be in.

    Raises:
        MappingError: naming every row that is wrong.
    """
    try:
        rows, faults = _without_faults(raw)
        table = _build(rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise MappingError(f"{source} cannot be read: {error!r}") from error
    faults += _faults(table)
    if faults:
        raise MappingError("\n".join([f"{source} is wrong:", *faults]))
    return table


def _without_faults(raw: Mapping[str, object]) -> tuple[Mapping[str, object], list[str]]:
    """The same table, with what is read by itself left out where it is wrong, so that the rest is judged too."""
    templates, rules = list(_template_faults(raw)), list(_rule_faults(raw))
    plain = {"templates": {"subject": "{subject}", "experiment": "{subject}"}} if templates else {}
    return {**raw, **plain, **({"fields": {}} if rules else {})}, templates + rules


def _rule_faults(raw: Mapping[str, object]) -> Iterable[str]:
    try:
        read_rules(raw)
    except MappingError as error:
        yield from str(error).splitlines()


def _template_faults(raw: Mapping[str, object]) -> Iterable[str]:
    templates = cast("Mapping[str, Mapping[str, str]]", raw)["templates"]
    for name in ("subject", "experiment"):
        try:
            template = parse_template(templates[name])
        except MappingError as error:
            yield f"[templates] {name}: {error}"
            continue
        if name == "subject" and template.keys != {"subject"}:
            yield f"[templates] subject: {template.text!r}: {{subject}} is the only placeholder here"


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
    naming = _naming(texts["templates"], frozenset(rows["modalities"]))
    return Table(
        naming=naming,
        combinations={
            name: Combination(frozenset(_words(row["of"])), str(row["session"]))
            for name, row in rows["combinations"].items()
        },
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
        staging=texts["resources"]["staging"],
        receipts=texts["resources"]["receipts"],
        trees={
            name: Tree(str(row["resource"]), bool(row.get("optional", False)), bool(row.get("parts", False)))
            for name, row in rows["trees"].items()
        },
        labels=cast("Mapping[str, Mapping[str, str]]", raw.get("labels", {})),
        rules=read_rules(raw),
    )


def _naming(templates: Mapping[str, str], modalities: frozenset[str]) -> Labels:
    experiment = parse_template(templates["experiment"])
    other = experiment.without_modality() if "modality" in experiment.keys else None
    return Labels(parse_template(templates["subject"]), experiment, other, modalities)


def _words(value: object) -> list[str]:
    """A list of words; a word alone is none, or its letters would be taken for words."""
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return [str(word) for word in value]


RESOURCE_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""What XNAT takes as a resource's label."""

PICTURES = "SNAPSHOTS"
"""The resource of a scan into which XNAT's own pages look for pictures; its name is XNAT's."""


_ASKED_FOR = ("derivatives", "sourcedata")


def _faults(table: Table) -> Iterable[str]:
    """What the parser cannot see: rows that name nothing, labels that XNAT refuses or would mix up."""
    for datatype in table.datatypes.values():
        if re.fullmatch(r"[a-z]+", datatype.name) is None:
            yield f"[datatypes] {datatype.name}: small letters only, or a scan's ID could not be taken apart again"
        if datatype.modality not in table.modalities:
            known = ", ".join(table.modalities)
            yield f"[datatypes] {datatype.name}: there is no modality {datatype.modality!r}: there are {known}"
        if not datatype.formats:
            yield f"[datatypes] {datatype.name}: there is no such table of formats, or it is empty"
        for label in datatype.formats.values():
            if label in {table.sidecar, table.companion, table.manifest, table.staging, table.receipts, PICTURES}:
                yield f"[formats]: {label!r} is the resource of something else"
    if PICTURES in {table.sidecar, table.companion}:
        yield f"{PICTURES!r}: in this resource XNAT looks for pictures"
    for modality in table.modalities:
        if re.fullmatch(r"[A-Z]+", modality) is None:
            yield f"[modalities] {modality}: capital letters only, or a label could not be taken apart again"
    for name, combination in table.combinations.items():
        for unknown in sorted(combination.of - table.modalities.keys()):
            yield f"[combinations] {name}: there is no modality {unknown!r}: there are {', '.join(table.modalities)}"
        if len(combination.of) < 2:
            yield f"[combinations] {name}: a combination is of two modalities or more"
    labels = [tree.resource for tree in table.trees.values()]
    labels += [label for datatype in table.datatypes.values() for label in datatype.formats.values()]
    labels += [table.sidecar, table.companion, table.other, table.manifest, table.staging, table.receipts]
    for label in labels:
        if RESOURCE_LABEL.fullmatch(label) is None:
            yield f"{label!r}: a resource's label starts with a letter and holds letters, digits, _ and - only"
    for name in (name for name, tree in table.trees.items() if tree.optional and name not in _ASKED_FOR):
        yield f"[trees] {name}: only {' and '.join(_ASKED_FOR)} can be optional: no option asks for others"
    taken = [tree.resource for tree in table.trees.values()]
    taken += [table.other, table.manifest, table.staging, table.receipts]
    if len(set(taken)) < len(taken):
        yield "[trees]: two folders, or a folder and [resources], share a resource"
    for tree in table.trees.values():
        for label in taken:
            if tree.parts and label.startswith(f"{tree.resource}_"):
                yield f"[trees]: {label!r} looks like a part of {tree.resource!r}"
