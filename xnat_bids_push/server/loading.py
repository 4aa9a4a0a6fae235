"""Loading: what a PUT or POST says about an object, from its body and its query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from . import items, populate
from .items import Item
from .populate import BadDocument, Draft, UnknownField, UnknownType
from .web import BAD_REQUEST, Call, failed, refuse

_XML_TYPES: Final = ("text/xml", "application/xml")
_FORM_TYPE: Final = "application/x-www-form-urlencoded"


def load(
    call: Call,
    shortcuts: Mapping[str, str],
    *,
    template: Item | None = None,
    data_type: str | None = None,
    replacing: bool = False,
) -> Draft | None:
    """The object as the client wants it, on top of what is stored; None if nothing usable was said.

    A field that the type does not have ends the reading: what came before it counts only if there is a template.
    A document is merged with what is stored, or replaces the single children that it has.
    """
    draft = Draft(template.copy()) if template else None
    if has_document(call):
        draft = _from_document(call, draft, replacing=replacing)
    elif call.get("req_format") == "form" or call.media_type == _FORM_TYPE:
        draft = _filled(draft, _form(call), {}, data_type)
    return _filled(draft, call.query, shortcuts, data_type)


def has_document(call: Call) -> bool:
    """Whether the body is taken for XML; a body without a declared length is not."""
    if not call.body.declared:
        return False
    return call.media_type in _XML_TYPES or call.get("req_format") == "xml" or call.flag("inbody")


def check(draft: Draft) -> None:
    """Refuse an object with values of the wrong kind."""
    if draft.fatal:
        raise failed()
    errors = [*draft.errors, *populate.missing(draft.item)]
    if errors:
        raise refuse(400, "".join(errors))


def _from_document(call: Call, draft: Draft | None, *, replacing: bool) -> Draft:
    try:
        document = populate.read_document(call.body.read())
    except BadDocument as error:
        raise refuse(422, f"An error occurred with the XML parser: {error}") from error
    if draft is None:
        return document
    if replacing:
        items.drop_single(draft.item, document.item.children)
    items.merge(draft.item, document.item)
    return Draft(draft.item, document.errors, document.fatal)


def _form(call: Call) -> dict[str, str]:
    sent = parse_qsl(call.body.read().decode("utf-8", "replace"), keep_blank_values=True)
    fields: dict[str, str] = {}
    for key, text in sent:
        fields.setdefault(key, populate.escaped(text))
    return fields | call.query


def _filled(
    draft: Draft | None, query: Mapping[str, str], shortcuts: Mapping[str, str], data_type: str | None
) -> Draft | None:
    fields = populate.expand(query, shortcuts)
    kind = data_type or populate.implied_type(query)
    if "xsiType" in query:
        kind = query["xsiType"]
    if draft is not None:
        target = draft
    elif kind is not None:
        target = Draft(new_item(kind))
    else:
        return None
    try:
        populate.fill(target, fields)
    except UnknownField:
        return draft
    return target


def new_item(kind: str) -> Item:
    """An empty item; 400 for a type that does not exist."""
    try:
        return populate.new_item(kind)
    except UnknownType as error:
        raise refuse(400, BAD_REQUEST) from error
