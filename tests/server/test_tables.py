"""Listings as text."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from xnat_bids_push.server.tables import table


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("total", [False, True])
def test_a_listing_is_the_same_json_however_many_pieces_it_comes_in(number: int, *, total: bool) -> None:
    rows = [{"ID": str(index), "label": f'é"{index}', "other": "not asked for"} for index in range(number)]
    body = table(None, ["ID", "label", "date"], rows, total=total).body
    assert isinstance(body, Iterator) == (number > 1000)
    pieces = list(body) if isinstance(body, Iterator) else [body]
    wanted: dict[str, object] = {"Result": [{"ID": row["ID"], "label": row["label"], "date": ""} for row in rows]}
    wanted |= {"totalRecords": str(number)} if total else {}
    assert all(isinstance(piece, bytes) for piece in pieces)
    assert json.loads(b"".join(piece for piece in pieces if isinstance(piece, bytes))) == {"ResultSet": wanted}
