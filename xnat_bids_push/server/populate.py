"""From what a client sends, query fields or a document, to an item."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from . import schema
from .items import Item
from .values import BadValue, FatalValue, Value, parse, required_field

DELETE: Final = "NULL"
"""The text that removes a value."""

_SEGMENT: Final = re.compile(r"([^/\[\]]+)((?:\[[^\]]*\])*)(?:/|$)")
_CONDITION: Final = re.compile(r"\[([^\]]+)\]")
_XSI_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
_CONCRETE: Final = {
    "xnat:abstractDemographicData": "xnat:demographicData",
    "xnat:abstractSubjectMetadata": "xnat:subjectMetadata",
    "xnat:abstractResource": "xnat:resourceCatalog",
}


class UnknownType(LookupError):
    """A data type that the schema does not have."""


class UnknownField(LookupError):
    """A field that the type does not have."""


class BadDocument(ValueError):
    """A document that is not well-formed, or has unknown elements."""


@dataclass(slots=True)
class Draft:
    """An item as a client wants it, with the complaints about its values."""

    item: Item
    errors: list[str] = field(default_factory=list)
    fatal: bool = False
    removed: list[str] = field(default_factory=list)

    def put(self, target: Item, known: schema.Field, text: str) -> None:
        """Set one field from its text, or note why that is impossible."""
        try:
            target.fields[known.path] = parse(known, text)
        except BadValue as error:
            self.errors.append(str(error))
        except FatalValue:
            self.fatal = True


def expand(query: Mapping[str, str], shortcuts: Mapping[str, str]) -> dict[str, str]:
    """Query fields with full paths: the prefixed ones first, then those given by a short name."""
    fields = {key: text for key, text in query.items() if ":" in key and "/" in key}
    fields.update({path: query[name] for name, path in shortcuts.items() if name in query})
    return fields


def implied_type(query: Mapping[str, str]) -> str | None:
    """The data type that a query names by ``xsiType`` or by the prefix of its first field."""
    if "xsiType" in query:
        return query["xsiType"]
    return next((key.partition("/")[0] for key in query if ":" in key and "/" in key), None)


def fill(draft: Draft, fields: Mapping[str, str]) -> None:
    """Set query fields one after the other; UnknownField at the first one that the type should have and has not."""
    touched: list[tuple[Item, str]] = []
    try:
        for key, text in fields.items():
            root, _, path = key.partition("/")
            found = schema.type_named(root)
            if found is not None and schema.extends(draft.item.type, found.name) and text != "":
                _set(draft, path, text, touched)
    finally:
        _prune(touched)


def new_item(name: str) -> Item:
    """An empty item of a type; UnknownType if there is no such type."""
    found = schema.type_named(name)
    if found is None:
        raise UnknownType(name)
    return Item(found.name)


def read_document(data: bytes) -> Draft:
    """The item of an XML document; BadDocument if it cannot be one."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise BadDocument(str(error)) from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise BadDocument("DOCTYPE is not allowed")
    found = schema.type_of_element(_prefixed(root.tag)) or schema.type_named(root.get(_XSI_TYPE, ""))
    if found is None:
        raise BadDocument(f"unknown element {root.tag}")
    draft = Draft(Item(found.name))
    _read_attributes(draft, draft.item, root, "")
    _read_children(draft, draft.item, root, "")
    return draft


def missing(item: Item) -> list[str]:
    """Complaints about fields that an object must have, and has not."""
    fields = schema.types()[item.type].fields.values()
    own = [required_field(field) for field in fields if field.required and field.path not in item.fields]
    return own + [line for some in item.children.values() for child in some for line in missing(child)]


def _set(draft: Draft, path: str, text: str, touched: list[tuple[Item, str]]) -> None:
    try:
        target, rest = _descend(draft.item, path, touched)
    except BadValue as error:
        draft.errors.append(str(error))
        return
    known = schema.field_of(target.type, rest)
    if known is None:
        raise UnknownField(path)
    if text == DELETE:
        target.fields.pop(known.path, None)
        draft.removed.append(path)
    else:
        draft.put(target, known, text)


def remove(item: Item, path: str) -> None:
    """Take away the value at a path."""
    touched: list[tuple[Item, str]] = []
    target, rest = _descend(item, path, touched)
    known = schema.field_of(target.type, rest)
    if known is not None:
        target.fields.pop(known.path, None)
    _prune(touched)


def _descend(item: Item, path: str, touched: list[tuple[Item, str]]) -> tuple[Item, str]:
    """Follow a path through child objects to the item that holds the field; notes the lists on the way."""
    prefix = ""
    for match in _SEGMENT.finditer(path):
        prefix += match[1]
        child = schema.child_of(item.type, prefix)
        if child is None:
            prefix += "/"
            continue
        touched.append((item, child.path))
        item = _child(item, child, _CONDITION.findall(match[2]))
        prefix = ""
    return item, prefix.removesuffix("/")


def _child(item: Item, child: schema.Child, conditions: Sequence[str]) -> Item:
    """The child that fits all conditions, such as ``ID=1`` and ``@xsi:type=xnat:mrScanData``, or a new one."""
    kind, keys, place = child.type, dict[str, Value](), 0
    for condition in conditions:
        name, _, text = condition.removeprefix("@").partition("=")
        if name == "xsi:type":
            kind = _kind(text, child)
        elif condition.isdigit():
            place = int(condition)
        elif child.many:
            known = schema.field_of(kind, name)
            if known is None:
                raise UnknownField(condition)
            keys[known.path] = parse(known, text)
    some = item.children.setdefault(child.path, [])
    fitting = [one for one in some if keys.items() <= one.fields.items()]
    if place < len(fitting):
        return fitting[place]
    some.append(Item(kind, keys))
    return some[-1]


def _kind(name: str, child: schema.Child) -> str:
    found = schema.type_named(name)
    if found is None or not schema.extends(found.name, child.type):
        raise UnknownField(name)
    return found.name


def _prune(touched: list[tuple[Item, str]]) -> None:
    """Drop what has nothing to say from lists, the innermost ones first."""
    for item, path in reversed(touched):
        left = [child for child in item.children.get(path, ()) if not _says_nothing(child)]
        if left:
            item.children[path] = left
        else:
            item.children.pop(path, None)


def _says_nothing(child: Item) -> bool:
    return not set(child.fields) - {"name"} and not any(child.children.values())


def _prefixed(tag: str) -> str:
    namespace, _, local = tag.removeprefix("{").rpartition("}")
    return f"xnat:{local}" if namespace == schema.NAMESPACES["xnat"] else local


def _local(element: etree._Element) -> str:
    return etree.QName(element).localname


def _read_attributes(draft: Draft, item: Item, element: etree._Element, prefix: str) -> None:
    for name, text in ((str(key), str(value)) for key, value in element.attrib.items()):
        if name.startswith("{"):
            continue
        known = schema.field_of(item.type, prefix + name)
        if known is None:
            raise BadDocument(f"unknown attribute {name} of {_local(element)}")
        if text:
            draft.put(item, known, text)


def _read_children(draft: Draft, item: Item, element: etree._Element, prefix: str) -> None:
    for inner in element.iterchildren(tag=etree.Element):
        path = prefix + _local(inner)
        child = schema.child_of(item.type, path)
        if child is not None:
            item.children.setdefault(child.path, []).append(_read_child(draft, child, inner))
            continue
        known = schema.field_of(item.type, path)
        if known is None and not _has_below(item.type, path):
            raise BadDocument(f"unknown element {path}")
        text = (inner.text or "").strip() if len(inner) == 0 else ""
        if known is not None and text:
            draft.put(item, known, text)
        _read_attributes(draft, item, inner, f"{path}/")
        _read_children(draft, item, inner, f"{path}/")


def _read_child(draft: Draft, child: schema.Child, element: etree._Element) -> Item:
    name = element.get(_XSI_TYPE) or _CONCRETE.get(child.type, child.type)
    found = schema.type_named(name)
    if found is None or not schema.extends(found.name, child.type):
        raise BadDocument(f"unknown type {name}")
    item = Item(found.name)
    _read_attributes(draft, item, element, "")
    own_text = schema.field_of(found.name, found.text) if found.text else None
    if own_text is not None and element.text and element.text.strip():
        draft.put(item, own_text, element.text)
    _read_children(draft, item, element, "")
    return item


def _has_below(kind: str, path: str) -> bool:
    found = schema.type_named(kind)
    below = f"{path.lower()}/"
    return found is not None and any(key.startswith(below) for key in (*found.fields, *found.children))


def escaped(text: str) -> str:
    """A query text as XNAT stores it.

    >>> escaped("a & b <c>")
    'a &amp; b &lt;c&gt;'
    """
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&apos;")):
        text = text.replace(plain, entity)
    return text
