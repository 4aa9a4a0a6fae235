"""Items: the tree of typed fields that a project, subject, session or scan is, and its JSON and XML forms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from . import schema
from .values import Value

Json = dict[str, "str | int | float | bool | Json | list[Json] | None"]

_XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_XML_NAMESPACES = (
    ' xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xmlns:xdat="http://nrg.wustl.edu/security" xmlns:cat="http://nrg.wustl.edu/catalog"'
)


@dataclass(slots=True)
class Item:
    """A typed object: single values by path, child objects by the path of their list."""

    type: str
    fields: dict[str, Value] = field(default_factory=dict)
    children: dict[str, list[Item]] = field(default_factory=dict)

    def text(self, path: str) -> str | None:
        """A field as text, or None where it is not set."""
        value = self.fields.get(path)
        return None if value is None else show(value)

    def named(self, path: str, name: str) -> Item | None:
        """The child of a list with that ``name``."""
        return next((child for child in self.children.get(path, ()) if child.fields.get("name") == name), None)

    def copy(self) -> Item:
        """An independent copy."""
        children = {path: [child.copy() for child in some] for path, some in self.children.items()}
        return Item(self.type, dict(self.fields), children)

    def is_empty(self) -> bool:
        """Whether nothing is set in it."""
        return not self.fields and not any(self.children.values())


def show(value: Value) -> str:
    """A value as listings write it.

    >>> show(220.0), show(2.5), show("a")
    ('220.0', '2.5', 'a')
    """
    return value if isinstance(value, str) else repr(value)


def merge(into: Item, other: Item) -> None:
    """Add the fields of one item to another; children meet by name, single children by being there."""
    into.fields.update(other.fields)
    for path, some in other.children.items():
        mine = into.children.setdefault(path, [])
        many = _is_many(into.type, path)
        for child in some:
            match = _counterpart(mine, child, many=many)
            if match is None:
                mine.append(child)
            else:
                merge(match, child)


def drop_single(item: Item, paths: Iterable[str]) -> None:
    """Take away the single children at these paths; lists stay."""
    for path in paths:
        if not _is_many(item.type, path):
            item.children.pop(path, None)


def dump(item: Item) -> str:
    """The stored form of an item."""
    return json.dumps(_packed(item), ensure_ascii=False, separators=(",", ":"))


def load(text: str) -> Item:
    """An item from its stored form."""
    return _unpacked(json.loads(text))


def to_json(item: Item, moment: str) -> Json:
    """One item as XNAT writes it in JSON."""
    children: list[Json] = [
        {"field": path, "items": [to_json(child, moment) for child in some]}
        for path, some in item.children.items()
        if some
    ]
    meta: Json = {"isHistory": False, "xsi:type": item.type, "start_date": moment}
    return {"children": children, "meta": meta, "data_fields": dict(item.fields)}


def to_xml(item: Item) -> str:
    """A whole document for one item."""
    found = schema.type_named(item.type)
    name = (found.element if found else None) or item.type
    return _XML_HEAD + "".join(_element(name, item, _XML_NAMESPACES))


def _packed(item: Item) -> list[object]:
    return [item.type, item.fields, {path: [_packed(child) for child in some] for path, some in item.children.items()}]


def _unpacked(packed: list[object]) -> Item:
    kind, fields, children = packed
    assert isinstance(kind, str)
    assert isinstance(fields, dict)
    assert isinstance(children, dict)
    return Item(kind, fields, {path: [_unpacked(child) for child in some] for path, some in children.items()})


def _is_many(kind: str, path: str) -> bool:
    child = schema.child_of(kind, path)
    return child is None or child.many


def _counterpart(some: list[Item], child: Item, *, many: bool) -> Item | None:
    if not many:
        return some[0] if some else None
    for key in schema.keys_of(child.type):
        if key in child.fields:
            return next((mine for mine in some if mine.fields.get(key) == child.fields[key]), None)
    return next((mine for mine in some if mine == child), None)


@dataclass(slots=True)
class _Node:
    """One element of a document while it is put together."""

    attributes: str = ""
    text: str = ""
    inner: list[tuple[str, str | _Node]] = field(default_factory=list)

    def below(self, name: str) -> _Node:
        for found, node in reversed(self.inner):
            if found == name and isinstance(node, _Node):
                return node
        node = _Node()
        self.inner.append((name, node))
        return node


def _element(name: str, item: Item, extra: str = "") -> Iterator[str]:
    yield from _write(name, _node(item), extra)


def _node(item: Item) -> _Node:
    found = schema.types()[item.type]
    root = _Node()
    for path in dict.fromkeys(found.order):
        _place(root, item, found, path)
    return root


def _place(root: _Node, item: Item, found: schema.Type, path: str) -> None:
    known = schema.field_of(item.type, path)
    *parents, leaf = path.split("/")
    if known is None:
        children = item.children.get(path, ())
        for child in children:
            target = _descend(root, parents)
            declared = schema.child_of(item.type, path)
            kind = f" xsi:type={quoteattr(child.type)}" if declared and declared.type != child.type else ""
            target.inner.append((f"xnat:{leaf}", "".join(_element(f"xnat:{leaf}", child, kind))))
        return
    value = item.fields.get(path)
    if value is None:
        return
    if known.attribute:
        _descend(root, parents).attributes += f" {leaf}={quoteattr(show(value))}"
    elif path == found.text:
        root.text = show(value)
    else:
        _descend(root, [*parents, leaf]).text = show(value)


def _descend(node: _Node, names: list[str]) -> _Node:
    for name in names:
        node = node.below(f"xnat:{name}")
    return node


def _write(name: str, node: _Node, extra: str = "") -> Iterator[str]:
    yield f"<{name}{node.attributes}{extra}"
    if not node.text and not node.inner:
        yield "/>"
        return
    yield f">{escape(node.text)}"
    for inner_name, inner in node.inner:
        yield from (inner,) if isinstance(inner, str) else _write(inner_name, inner)
    yield f"</{name}>"
