"""The data model that the server at hand serves: which fields its types have, and what fits into them. Pure.

Types, lengths and names of fields differ between versions of XNAT, and a site may have added its own. What XNAT does
not know vanishes with status 200 in a query, and spoils the whole document in XML; what is badly typed is refused. So
every field is checked against the server's own schema before it is sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from xml.etree.ElementTree import Element

from xnat_bids_push.model import Field, Parcel

SUBJECT = "xnat:subjectData"

UNKNOWN = "this server's data model has no such field"

_XS = "{http://www.w3.org/2001/XMLSchema}"
_LONGEST = 255
"""How long a text may be where the schema does not say: XNAT makes such columns VARCHAR(255)."""

_STEP = re.compile(r"(?P<name>[^/\[]+)(?:\[(?P<key>[^=\]]+)=(?P<value>[^\]]*)\])?(?:/|$)")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a field's path.

    Args:
        key: the attribute that names one of several elements, as in ``addParam[name=…]``; else empty.
        value: that attribute's value.
    """

    name: str
    key: str = ""
    value: str = ""


def steps(path: str) -> tuple[Step, ...]:
    """A field's path, taken apart.

    >>> steps("parameters/addParam[name=a/b]")
    (Step(name='parameters', key='', value=''), Step(name='addParam', key='name', value='a/b'))
    """
    return tuple(Step(found["name"], found["key"] or "", found["value"] or "") for found in _STEP.finditer(path))


@dataclass(frozen=True, slots=True)
class Misfit:
    """A field that the server cannot take, and why."""

    xsi_type: str
    field: Field
    reason: str


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one step of a path leads in a type.

    Args:
        attribute: whether it is an attribute of the element before it.
        order: its place among its siblings.
        of_type: the type that the element must claim to be (``xsi:type``) because its declared one is abstract.
    """

    step: Step
    attribute: bool
    order: int
    of_type: str
    declared: Element


class Schema:
    """The types of one schema document, ``xnat.xsd``.

    Args:
        root: the document's root element.
        prefix: that of its types.
    """

    def __init__(self, root: Element, prefix: str = "xnat") -> None:
        self._prefix = prefix
        self._elements = {one.get("type", ""): one.get("name", "") for one in root.findall(f"{_XS}element")}
        self._types = {one.get("name", ""): one for one in root if one.tag in (f"{_XS}complexType", f"{_XS}simpleType")}
        self._members: dict[str, dict[str, Element]] = {}

    def element(self, xsi_type: str) -> str:
        """The XML element of a data type, ``MRSession`` for ``xnat:mrSessionData``; "" if there is none."""
        return self._elements.get(xsi_type, "")

    def extends(self, xsi_type: str, base: str) -> bool:
        """Whether a type is another one, or extends it; both by their full names, as ``xnat:imageSessionData``."""
        while xsi_type and xsi_type != base:
            definition = self._definition(xsi_type)
            extension = definition.find(f".//{_XS}extension") if definition is not None else None
            xsi_type = extension.get("base", "") if extension is not None else ""
        return bool(xsi_type)

    def route(self, xsi_type: str, path: str) -> tuple[Slot, ...] | None:
        """The slots that a field's path leads through; None if the type has no such field."""
        here = self._definition(xsi_type)
        found: list[Slot] = []
        for step in steps(path):
            slot, found = self._slot(here, step, found)
            if slot is None:
                return None
            found.append(slot)
            here = self._content(slot.declared)
        return tuple(found)

    def _slot(self, here: Element | None, step: Step, before: list[Slot]) -> tuple[Slot | None, list[Slot]]:
        """The slot of a step below an element; where the element's type is abstract, below a type that extends it."""
        members = self._all_members(here)
        if step.name not in members and before:
            name, members = self._extension_with(before[-1].declared.get("type", ""), step.name)
            before = [*before[:-1], replace(before[-1], of_type=name)]
        if step.name not in members:
            return None, before
        declared = members[step.name]
        order = list(members).index(step.name)
        return Slot(step, declared.tag == f"{_XS}attribute", order, "", declared), before

    def _extension_with(self, base: str, member: str) -> tuple[str, dict[str, Element]]:
        for name, definition in self._types.items():
            extension = definition.find(f"{_XS}complexContent/{_XS}extension")
            if base and extension is not None and extension.get("base") == base:
                members = self._all_members(definition)
                if member in members:
                    return f"{self._prefix}:{name}", members
        return "", {}

    def fault(self, xsi_type: str, field: Field) -> str:
        """Why a field cannot be sent as it is, or ""."""
        route = self.route(xsi_type, field.path)
        if not route:
            return UNKNOWN
        keyed = [slot for slot in route if slot.step.key]
        if any(slot.step.key not in self._all_members(self._content(slot.declared)) for slot in keyed):
            return UNKNOWN
        if any(len(slot.step.value) > _LONGEST for slot in keyed):
            return f"its name is longer than {_LONGEST} characters"
        return self._value_fault(route[-1].declared, field.value)

    def _value_fault(self, declared: Element, value: str) -> str:
        kind, facets = self._simple(declared)
        if not value.strip():
            return "it has no value"
        if _NOT_IN_XML.search(value):
            return "its value holds control characters"
        check = _CHECKS.get(kind)
        if check is not None:
            return _range_fault(value, facets) if check(value) else f"{value!r} is no {kind}"
        choices = [one.get("value", "") for one in facets if one.tag == f"{_XS}enumeration"]
        if choices and value.casefold() not in {choice.casefold() for choice in choices}:
            return f"{value!r} is none of {', '.join(choices)}"
        limits = [int(one.get("value", "0")) for one in facets if one.tag in (f"{_XS}maxLength", f"{_XS}length")]
        longest = min(limits, default=_LONGEST)
        length = len(value.encode("utf-16-le")) // 2  # as Java counts
        return "" if length <= longest else f"it has {length} characters, and {longest} are allowed"

    # ---------------------------------------------------------------- the document, read

    def _definition(self, name: str) -> Element | None:
        prefix, _, local = name.partition(":")
        return self._types.get(local) if prefix == self._prefix else None

    def _content(self, declared: Element) -> Element | None:
        """What an element may hold: its own type, or the one that it names."""
        inline = declared.find(f"{_XS}complexType")
        return inline if inline is not None else self._definition(declared.get("type", ""))

    def _all_members(self, definition: Element | None) -> dict[str, Element]:
        """The elements and attributes that a type declares, those of the types it extends first."""
        if definition is None:
            return {}
        name = definition.get("name", "")
        if name and name in self._members:
            return self._members[name]
        extension = definition.find(f"{_XS}complexContent/{_XS}extension")
        base = extension.get("base", "") if extension is not None else ""
        found = dict(self._all_members(self._definition(base))) if base else {}
        found |= {one.get("name", ""): one for one in _declared(definition)}
        if name:
            self._members[name] = found
        return found

    def _simple(self, declared: Element) -> tuple[str, list[Element]]:
        """The built-in type of a value, ``string`` where none is named, and the facets that restrict it."""
        facets: list[Element] = []
        seen: set[str] = set()
        here: Element | None = declared
        name = declared.get("type", "")
        while True:
            if name.startswith("xs:"):
                return name.removeprefix("xs:"), facets
            if name:
                here = self._definition(name) if name not in seen else None
                seen.add(name)
            inner = _derivation(here)
            if inner is None:
                return "string", facets
            facets += list(inner)
            here, name = inner, inner.get("base", "")


_NOT_IN_XML = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ud800-\\udfff\\ufffe\\uffff]")


def _range_fault(value: str, facets: Iterable[Element]) -> str:
    for facet in facets:
        low, high = facet.tag == f"{_XS}minInclusive", facet.tag == f"{_XS}maxInclusive"
        bound = facet.get("value", "")
        if (low and float(value) < float(bound)) or (high and float(value) > float(bound)):
            return f"{value} is {'less' if low else 'more'} than {bound}"
    return ""


def _declared(node: Element) -> Iterator[Element]:
    """Elements and attributes declared by a type itself, not by the elements in it."""
    for child in node:
        if child.tag in (f"{_XS}element", f"{_XS}attribute"):
            yield child
        elif child.tag != f"{_XS}annotation":
            yield from _declared(child)


def _derivation(node: Element | None) -> Element | None:
    """The restriction or extension by which a simple type, or a complex one with text, is made."""
    if node is None:
        return None
    for path in (
        f"{_XS}simpleType/{_XS}restriction",
        f"{_XS}restriction",
        f"{_XS}complexType/{_XS}simpleContent/{_XS}extension",
        f"{_XS}complexType/{_XS}simpleContent/{_XS}restriction",
        f"{_XS}simpleContent/{_XS}extension",
        f"{_XS}simpleContent/{_XS}restriction",
    ):
        found = node.find(path)
        if found is not None:
            return found
    return None


# ------------------------------------------------------------------ values


def _is_integer(value: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,10}", value) is not None and -(2**31) <= int(value) < 2**31


def _is_number(value: str) -> bool:
    """A finite one: XNAT takes ``inf``, and can never again read or delete what holds it."""
    try:
        return math.isfinite(float(value)) and "_" not in value and value.isascii()
    except ValueError:
        return False


def _is_single(value: str) -> bool:
    """A number of single precision: XNAT fails, and with it the whole session, at one that is none."""
    return _is_number(value) and (float(value) == 0 or _SMALLEST <= abs(float(value)) <= _GREATEST)


_SMALLEST, _GREATEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127


def _parsed_by(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return check


_CHECKS: dict[str, Callable[[str], bool]] = (
    dict.fromkeys(("int", "integer", "long", "short", "nonNegativeInteger", "positiveInteger"), _is_integer)
    | dict.fromkeys(("double", "decimal"), _is_number)
    | {
        "float": _is_single,
        "date": _parsed_by(date.fromisoformat),
        "time": _parsed_by(time.fromisoformat),
        "dateTime": _parsed_by(datetime.fromisoformat),
        "boolean": lambda value: value in ("true", "false", "1", "0"),
    }
)
"""How values are read, by the schema's built-in type."""


# ------------------------------------------------------------------ what fits


def fit(parcel: Parcel, schema: Schema) -> tuple[Parcel, tuple[Misfit, ...]]:
    """A parcel with those fields only that the server can take, and the others with the reason."""
    own, misfits = fitting(parcel.xsi_type or SUBJECT, parcel.fields, schema)
    scans = []
    for scan in parcel.scans:
        fields, others = fitting(scan.xsi_type, scan.fields, schema)
        scans.append(replace(scan, fields=fields))
        misfits += others
    return replace(parcel, fields=own, scans=tuple(scans)), misfits


def fitting(xsi_type: str, fields: Iterable[Field], schema: Schema) -> tuple[tuple[Field, ...], tuple[Misfit, ...]]:
    """The fields that the server can take for a type, and the others with the reason."""
    faults = {field: schema.fault(xsi_type, field) for field in fields}
    misfits = tuple(Misfit(xsi_type, field, reason) for field, reason in faults.items() if reason)
    return tuple(field for field, reason in faults.items() if not reason), misfits
