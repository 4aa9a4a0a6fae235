"""Tables: listings as JSON, CSV, XML or HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

from .web import JSON, Answer, Call, failed

Row = Mapping[str, str]

_AT_ONCE: Final = 1000
"""Rows that are turned into text together; a longer listing is sent piece by piece."""

_PAGE: Final = 100


def table(kind: str | None, columns: Sequence[str], rows: Sequence[Row], *, total: bool = True, **more: str) -> Answer:
    """A listing in the requested format; JSON, which can say more, unless something else is asked for."""
    if kind == "csv":
        return Answer(200, _csv(columns, rows).encode(), "text/csv")
    if kind == "xml":
        return Answer(200, _xml(columns, rows).encode(), "text/xml")
    if kind == "html":
        return Answer(200, _html(columns, rows).encode(), "text/html")
    pieces = _json(columns, rows, {**more, **({"totalRecords": str(len(rows))} if total else {})})
    return Answer(200, pieces if len(rows) > _AT_ONCE else b"".join(pieces), JSON)


def _json(columns: Sequence[str], rows: Sequence[Row], more: Mapping[str, str]) -> Iterator[bytes]:
    """A listing as JSON, some rows at a time: that of many sessions' files is never held as one text."""
    yield b'{"ResultSet":{"Result":['
    for start in range(0, len(rows), _AT_ONCE):
        some = [{name: row.get(name, "") for name in columns} for row in rows[start : start + _AT_ONCE]]
        yield (b"," if start else b"") + to_json(some)[1:-1]
    yield b"]" + b"".join(b"," + to_json({name: value})[1:-1] for name, value in more.items()) + b"}}"


def page(call: Call, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows that ``limit`` and ``offset`` ask for; a star stands for all."""
    sent = call.get("offset") or "0", call.get("limit") or str(_PAGE)
    if not is_paged(call) or "*" in sent:
        return rows
    if not all(re.fullmatch(r"\d{1,18}", text, re.ASCII) for text in sent):
        raise failed()
    first, size = map(int, sent)
    return rows[first : first + size] if first or size else rows


def is_paged(call: Call) -> bool:
    """Whether only a part of the rows is wanted."""
    return call.get("limit") is not None or call.get("offset") is not None


def to_json(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    lines = [",".join(columns)]
    lines += [",".join(_quoted(row.get(name, "")) for name in columns) for row in rows]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _xml(columns: Sequence[str], rows: Iterable[Row]) -> str:
    head = "".join(f"<column>{escape(name)}</column>" for name in columns)
    body = "".join(
        "<row>" + "".join(f"<cell>{escape(row.get(name, ''))}</cell>" for name in columns) + "</row>" for row in rows
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<ResultSet><results><columns>{head}</columns><rows>{body}</rows></results></ResultSet>\n"
    )


def _html(columns: Sequence[str], rows: Iterable[Row]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(row.get(name, ''))}</td>" for name in columns) + "</tr>" for row in rows
    )
    return f"<html><body><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></body></html>\n"
