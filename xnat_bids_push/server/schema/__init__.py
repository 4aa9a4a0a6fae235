"""The data model: types, their fields and how each field's value is checked.

One document, ``xnat.xsd``, is both what clients download and what this module reads, so the served schema and the
checks cannot disagree.

>>> field_of("xnat:mrScanData", "parameters/TR").kind
'float'
>>> extends("xnat:mrScanData", "xnat:imageScanData")
True
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from lxml import etree

Kind = Literal["text", "float", "double", "integer", "date", "time", "dateTime", "duration", "boolean"]
Registered = Literal["all", "stock"]

NAMESPACES: Final = {
    "xs": "http://www.w3.org/2001/XMLSchema",
    "xdat": "http://nrg.wustl.edu/xdat",
    "xnat": "http://nrg.wustl.edu/xnat",
}
DEFAULT_LENGTH: Final = 255
"""XNAT stores a text field without a stated length in a column of this width."""

DOCUMENTS: Final = ("catalog", "security", "xnat")
STOCK_SESSIONS: Final = ("mr", "pet", "petmr", "ct", "cr")
STOCK_OTHERS: Final = ("xnat:projectData", "xnat:subjectData", "xnat:qcManualAssessorData", "xnat:qcAssessmentData")

_XS: Final = f"{{{NAMESPACES['xs']}}}"
_KINDS: Final[dict[str, Kind]] = {
    "xs:string": "text",
    "xs:float": "float",
    "xs:double": "double",
    "xs:int": "integer",
    "xs:integer": "integer",
    "xs:long": "integer",
    "xs:date": "date",
    "xs:time": "time",
    "xs:dateTime": "dateTime",
    "xs:duration": "duration",
    "xs:boolean": "boolean",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A single value of a type, addressed by its path below the object."""

    path: str
    kind: Kind
    owner: str
    attribute: bool = False
    max_length: int | None = None
    choices: tuple[str, ...] = ()
    lowest: int | None = None
    highest: int | None = None
    required: bool = False
    key: bool = False
    """Whether members of a list that agree in this field are one and the same."""


@dataclass(frozen=True, slots=True)
class Child:
    """An object, or a list of objects, inside another one."""

    path: str
    type: str
    many: bool


@dataclass(slots=True)
class Type:
    """A complex type with everything that it inherits."""

    name: str
    base: str | None = None
    element: str | None = None
    abstract: bool = False
    text: str | None = None
    """The field that is the text of the element itself, as in ``<xnat:addParam name="k">text</xnat:addParam>``."""
    fields: dict[str, Field] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)


@cache
def document(name: str) -> bytes:
    """The text of one schema document, as served."""
    return files(__package__).joinpath(f"{name}.xsd").read_bytes()


@cache
def types() -> dict[str, Type]:
    """Every type by its name, for example ``xnat:mrScanData``."""
    root = etree.fromstring(document("xnat"))
    reader = _Reader({node.get("name", ""): node for node in root.findall(f"{_XS}complexType")})
    for name in list(reader.nodes):
        reader.read(name)
    for node in root.findall(f"{_XS}element"):
        reader.types[node.get("type", "")].element = f"xnat:{node.get('name')}"
    return reader.types


@cache
def type_named(name: str) -> Type | None:
    """The type of that name, whatever the case of its letters, or None."""
    return {key.lower(): value for key, value in types().items()}.get(name.lower())


@cache
def type_of_element(element: str) -> Type | None:
    """The type of a document element, for example ``xnat:MRSession``."""
    return next((t for t in types().values() if element in (t.element, t.name)), None)


@cache
def extends(name: str, ancestor: str) -> bool:
    """Whether a type is, or inherits from, another one."""
    current = type_named(name)
    while current is not None:
        if current.name.lower() == ancestor.lower():
            return True
        current = type_named(current.base) if current.base else None
    return False


def field_of(type_name: str, path: str) -> Field | None:
    """The field at a path, whatever the case of its letters, or None."""
    found = type_named(type_name)
    return found.fields.get(path.lower()) if found else None


def child_of(type_name: str, path: str) -> Child | None:
    """The child object at a path, whatever the case of its letters, or None."""
    found = type_named(type_name)
    return found.children.get(path.lower()) if found else None


@cache
def keys_of(type_name: str) -> tuple[str, ...]:
    """The fields by which members of a list are told apart, the most telling one first."""
    found = type_named(type_name)
    own = tuple(field.path for field in found.fields.values() if field.key) if found else ()
    return own or ("ID", "name", "label")


@cache
def registered_types(registered: Registered) -> frozenset[str]:
    """The types that have security set up on this site."""
    if registered == "stock":
        return frozenset((*STOCK_OTHERS, *(f"xnat:{kind}SessionData" for kind in STOCK_SESSIONS)))
    sessions = (t.name for t in types().values() if extends(t.name, "xnat:imageSessionData") and not t.abstract)
    return frozenset((*STOCK_OTHERS, *sessions))


class _Reader:
    """Reads complex types, the inherited ones first."""

    def __init__(self, nodes: dict[str, etree._Element]) -> None:
        self.nodes = nodes
        self.types: dict[str, Type] = {}

    def read(self, name: str) -> Type:
        full = f"xnat:{name}"
        if full in self.types:
            return self.types[full]
        node = self.nodes[name]
        outer = node.find(f"{_XS}complexContent/{_XS}extension")
        outer = outer if outer is not None else node.find(f"{_XS}simpleContent/{_XS}extension")
        base = outer.get("base") if outer is not None else None
        found = Type(full, abstract=node.find(".//xdat:element[@abstract='true']", NAMESPACES) is not None)
        if base is not None and base.startswith("xnat:"):
            parent = self.read(base.removeprefix("xnat:"))
            found.base = base
            found.fields.update(parent.fields)
            found.children.update(parent.children)
            found.order.extend(parent.order)
        elif base is not None:
            self._add_text(found, name, base)
        self.types[full] = found
        self._content(found, outer if outer is not None else node, "")
        return found

    def _content(self, found: Type, node: etree._Element, prefix: str) -> None:
        for element in node.iterfind(f"{_XS}sequence/{_XS}element"):
            self._element(found, element, prefix)
        for attribute in node.iterfind(f"{_XS}attribute"):
            self._add(found, _field(attribute, prefix, found.name, attribute=True))

    def _element(self, found: Type, element: etree._Element, prefix: str) -> None:
        path = prefix + element.get("name", "")
        kind = element.get("type", "")
        many = element.get("maxOccurs") == "unbounded"
        inner = element.find(f"{_XS}complexType")
        if kind.startswith("xnat:"):
            self._add_child(found, Child(path, kind, many))
        elif many:
            self._add_child(found, Child(path, self._member(found, element, path).name, many))
        elif inner is None:
            self._add(found, _field(element, prefix, found.name))
        else:
            value = inner.find(f"{_XS}simpleContent/{_XS}extension")
            if value is not None:
                self._add(found, Field(path, _KINDS[value.get("base", "")], found.name, max_length=DEFAULT_LENGTH))
            self._content(found, value if value is not None else inner, f"{path}/")

    def _member(self, owner: Type, element: etree._Element, path: str) -> Type:
        """The members of a list such as ``fields/field`` have a type of their own, which the schema does not name."""
        leaf = path.rsplit("/", 1)[-1]
        made = Type(f"{owner.name}_{leaf}")
        inner = element.find(f"{_XS}complexType")
        outer = inner.find(f"{_XS}simpleContent/{_XS}extension") if inner is not None else None
        if inner is None:
            self._add(made, _field(element, "", made.name))
            made.text = leaf
        elif outer is not None:
            self._add_text(made, leaf, outer.get("base", ""))
        if inner is not None:
            self._content(made, outer if outer is not None else inner, "")
        self.types[made.name] = made
        return made

    def _add_text(self, found: Type, name: str, base: str) -> None:
        kind = _KINDS[base]
        self._add(found, Field(name, kind, found.name, max_length=DEFAULT_LENGTH if kind == "text" else None))
        found.text = name

    @staticmethod
    def _add(found: Type, value: Field) -> None:
        found.fields[value.path.lower()] = value
        found.order.append(value.path)

    @staticmethod
    def _add_child(found: Type, child: Child) -> None:
        found.children[child.path.lower()] = child
        found.order.append(child.path)


def _field(node: etree._Element, prefix: str, owner: str, *, attribute: bool = False) -> Field:
    path = prefix + node.get("name", "")
    restriction = node.find(f"{_XS}simpleType/{_XS}restriction")
    base = restriction.get("base") if restriction is not None else node.get("type")
    kind = _KINDS[base or ""]
    length = DEFAULT_LENGTH if kind == "text" else None
    # IDs are given by the archive where they are missing.
    required = node.get("use") == "required" and node.get("name") != "ID"
    key = node.find(f"{_XS}annotation/{_XS}appinfo/xdat:field[@uniqueComposite]", NAMESPACES) is not None
    if restriction is None:
        return Field(path, kind, owner, attribute, length, required=required, key=key)

    def facet(name: str) -> list[str]:
        return [found.get("value", "") for found in restriction.iterfind(f"{_XS}{name}")]

    low, high, longest = facet("minInclusive"), facet("maxInclusive"), facet("maxLength")
    return Field(
        path,
        kind,
        owner,
        attribute,
        int(longest[0]) if longest else length,
        tuple(facet("enumeration")),
        int(low[0]) if low else None,
        int(high[0]) if high else None,
        required,
        key,
    )
