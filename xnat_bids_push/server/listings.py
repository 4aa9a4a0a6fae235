"""Listings: projects, subjects, experiments and scans as tables with the columns that are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from . import schema, shortcuts
from .items import Item, show
from .values import BadValue, FatalValue, parse

_CONDITION: Final = re.compile(r"\[([^\]]*)\]")
_OF_TYPE: Final = re.compile(r"\[@?xsi:type=[^\]]*\]")


@dataclass(slots=True)
class Source:
    """One object as the listings see it: its item, its owner, and further values by paths in lower case."""

    item: Item
    own: Mapping[str, str] = field(default_factory=dict)
    owner: Source | None = None

    def look(self, path: str) -> str:
        """The text at a full path, for example ``xnat:mrSessionData/date``; empty where there is none."""
        root, _, rest = path.partition("/")
        if not schema.extends(self.item.type, root):
            return self.owner.look(path) if self.owner is not None else ""
        if rest.lower() in self.own:
            return self.own[rest.lower()]
        return _value(self.item, rest)


def paths_of(base: Mapping[str, str]) -> dict[str, str]:
    """Short names with the read-only ones that listings add."""
    root = next(iter(base.values())).partition("/")[0]
    return {**base, **{name: f"{root}/{path}" for name, path in shortcuts.READ_ONLY.items()}}


def requested(text: str | None, defaults: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """The columns that a query names, without those that do not exist."""
    if text is None or text == "DEFAULT":
        return list(defaults)
    names = [name.strip() for name in text.split(",")]
    return [name for name in names if name in known or ("/" in name and _exists(name))]


def root_of(default: str, names: Sequence[str], known: Mapping[str, str]) -> str:
    """The type that is listed: the default one, or a more special one that a column or filter belongs to."""
    root = default
    for name in names:
        path = known.get(name, name)
        found = schema.type_named(path.partition("/")[0])
        if found is not None and found.name != root and schema.extends(found.name, root):
            root = found.name
    return root


def column_name(name: str, known: Mapping[str, str]) -> str:
    """How a column is called in the answer: by its short name, or by its path in lower case."""
    if name in known:
        return name
    path = name.lower()
    return next((short for short, full in known.items() if full.lower() == path), path)


def full_path(name: str, known: Mapping[str, str]) -> str:
    """The path of a column."""
    return known.get(name, name)


class BadFilter(ValueError):
    """A filter that the database cannot understand."""


def condition(path: str, wanted: str) -> Callable[[str], bool]:
    """What a filter asks of the value at a path: one of a comma list; BadFilter if it is none for values of that kind.

    Texts may have ``*`` or ``%`` for anything, numbers and dates may be ranges. As ranges are told by their first
    hyphen, dates with hyphens make no filter.

    >>> condition("xnat:subjectData/label", "sub-*,x")("sub-01")
    True
    >>> condition("xnat:experimentData/date", "01/01/2020-12/31/2020")("2020-02-03")
    True
    """
    root, _, rest = path.partition("/")
    found = schema.type_named(root)
    field = _field_at(found.name, _CONDITION.sub("", rest)) if found else None
    kind = field.kind if field else "date" if rest in ("meta/insert_date", "meta/last_modified") else "text"
    one_of = [_pattern(one) if kind == "text" else _range(kind, one) for one in wanted.split(",")]
    return lambda text: any(fits(text) for fits in one_of)


def conditions(query: Mapping[str, str], known: Mapping[str, str]) -> list[tuple[str, Callable[[str], bool]]]:
    """The filters in a query: fields by their short names or by their paths, with what is asked of them."""
    names = [name for name in query if (name in known and name != "xsiType") or "/" in name]
    paths = {known.get(name, name): query[name] for name in names}
    return [(path, condition(path, wanted)) for path, wanted in paths.items()]


def _pattern(wanted: str) -> Callable[[str], bool]:
    parts = [re.escape(part) for part in re.split(r"[*%]", wanted)]
    pattern = re.compile(".*".join(parts), re.DOTALL)
    return lambda text: pattern.fullmatch(text) is not None


def _range(kind: schema.Kind, wanted: str) -> Callable[[str], bool]:
    low, hyphen, high = wanted.partition("-")
    first = _comparable(kind, low)
    last = _comparable(kind, high) if hyphen else first
    return lambda text: text != "" and first <= _comparable(kind, text) <= last


def _comparable(kind: schema.Kind, text: str) -> tuple[float, str]:
    """A value in a form that compares: numbers by size, dates and times by their text."""
    try:
        value = parse(schema.Field("", kind, ""), text)
    except (BadValue, FatalValue) as error:
        raise BadFilter(text) from error
    return (0.0, value) if isinstance(value, str) else (float(value), "")


def expand_rows(source: Source, names: Sequence[str], known: Mapping[str, str]) -> list[dict[str, str]]:
    """The rows of one object: one, or one for each member of the lists that columns point into."""
    rows: list[dict[str, str]] = [{}]
    lists: dict[str, list[str]] = {}
    for name in names:
        path = full_path(name, known)
        many = _list_in(path)
        if many is not None and schema.extends(source.item.type, path.partition("/")[0]):
            lists.setdefault(many, []).append(name)
            continue
        for row in rows:
            row[column_name(name, known)] = source.look(path)
    for many, some in lists.items():
        members: Sequence[Item | None] = source.item.children.get(many) or [None]
        rows = [
            row | {column_name(name, known): _member_value(member, full_path(name, known), many) for name in some}
            for row in rows
            for member in members
        ]
    return rows


def _member_value(member: Item | None, path: str, many: str) -> str:
    if member is None:
        return ""
    rest = _OF_TYPE.sub("", path).partition("/")[2][len(many) + 1 :]
    return _value(member, rest)


def _list_in(path: str) -> str | None:
    """The list of child objects that a path leads into, if it asks for all of its members."""
    root, _, rest = _OF_TYPE.sub("", path).partition("/")
    found = schema.type_named(root)
    if found is None:
        return None
    for child in found.children.values():
        if child.many and rest.lower().startswith(f"{child.path.lower()}/"):
            return child.path
    return None


def _exists(path: str) -> bool:
    root, _, rest = path.partition("/")
    found = schema.type_named(root)
    if found is None:
        return False
    return rest.startswith(("meta/", "extension_item/")) or _field_at(found.name, _CONDITION.sub("", rest)) is not None


def _field_at(kind: str, path: str) -> schema.Field | None:
    """The field at a path of a type, also below its children, whatever kinds these are of."""
    known = schema.field_of(kind, path)
    if known is not None:
        return known
    for child in schema.types()[kind].children.values():
        prefix = f"{child.path.lower()}/"
        if path.lower().startswith(prefix):
            inner = path[len(prefix) :]
            kinds = [name for name in schema.types() if schema.extends(name, child.type)]
            return next(filter(None, (_field_at(name, inner) for name in kinds)), None)
    return None


def _value(item: Item, path: str) -> str:
    known = schema.field_of(item.type, path)
    if known is not None:
        value = item.fields.get(known.path)
        return "" if value is None else show(value)
    for name, some in item.children.items():
        found = re.fullmatch(rf"{re.escape(name)}((?:\[[^\]]*\])*)/(.*)", path, re.IGNORECASE | re.DOTALL)
        if found is not None:
            conditions = _CONDITION.findall(found[1])
            fitting = (one for one in some if all(_fits(one, condition) for condition in conditions))
            member = next(fitting, None)
            return _value(member, found[2]) if member is not None else ""
    return ""


def _fits(member: Item, condition: str) -> bool:
    name, _, wanted = condition.removeprefix("@").partition("=")
    return schema.extends(member.type, wanted) if name == "xsi:type" else _value(member, name) == wanted
