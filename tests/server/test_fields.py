"""Every field of the data model comes back, whichever way it was set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from xnat_bids_push.server import schema
from xnat_bids_push.server.items import Item, to_json, to_xml

from .conftest import XNAT, Client, World, make_zip

_SAMPLES: dict[schema.Kind, tuple[str, str | int | float]] = {
    "text": ("z & é", "z & é"),
    "float": ("2.5", 2.5),
    "double": ("1.23456789012", 1.23456789012),
    "integer": ("3", 3),
    "date": ("2020-01-02", "2020-01-02"),
    "time": ("10:11:12", "10:11:12"),
    "dateTime": ("2020-01-02T10:11:12", "2020-01-02 10:11:12.0"),
    "duration": ("PT1H", "PT1H"),
    "boolean": ("true", 1),
}
_SESSIONS = ("mr", "pet", "petmr", "ct", "eeg", "meg", "otherDicom", "xa", "opt", "rg")
_SCANS = ("mr", "pet", "ct", "eeg", "meg", "otherDicom", "mrs", "sc", "seg", "xa", "opt", "ecg")
_ELSEWHERE = {"id", "project", "label", "subject_id", "image_session_id", "visit"}
"""What an object is told by its place, or cannot have here."""
_FILLED = ("fields/field", "addid", "investigator", "validation", "demographics", "metadata", "parameters/addparam")
_LISTS = (
    "parameters/frames/frame",
    "channels/channel",
    "softwarefiltersimpedances/impedance",
    "contrasts/",
    "parameters/focalspots/focalspot",
    "parameters/contrastbolus",
)
_DOCUMENT = {"Content-Type": "text/xml"}


def _sample(field: schema.Field) -> tuple[str, str | int | float]:
    sent, kept = (field.choices[0],) * 2 if field.choices else _SAMPLES[field.kind]
    return ("z", "z") if field.kind == "text" and (field.key or (field.max_length or 255) < 10) else (sent, kept)


def _filled(kind: str) -> tuple[Item, dict[str, str]]:
    """An object in which everything is set that a client can set, and the query that says the same."""
    item, query = Item(kind), dict[str, str]()
    _fill(item, query, kind, schema.types()[kind])
    return item, query


def _fill(item: Item, query: dict[str, str], prefix: str, found: schema.Type) -> None:
    for path, field in found.fields.items():
        if path not in _ELSEWHERE and field.path != "image_scan_id":
            query[f"{prefix}/{field.path}"], item.fields[field.path] = _sample(field)
    for path, child in found.children.items():
        if path.startswith((*_FILLED, *_LISTS)):
            kind = {"xnat:abstractDemographicData": "xnat:demographicData"}.get(child.type, child.type)
            kind = kind.replace("abstractSubjectMetadata", "subjectMetadata")
            inner = Item(kind)
            condition = f"[@xsi:type={kind}]" if kind != child.type else ""
            key = schema.types()[kind].fields.get(schema.keys_of(kind)[0].lower())
            if child.many and key is not None:
                condition = f"[{key.path}={_sample(key)[0]}]"
            _fill(inner, query, f"{prefix}/{child.path}{condition}", schema.types()[kind])
            item.children[child.path] = [inner]


def _stored(client: Client, address: str) -> dict[str, Any]:
    answer = client("GET", address, format="json")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["items"][0]
    return found


def _plain(shown: dict[str, Any], *, unescaped: bool = False) -> dict[str, Any]:
    """Fields and children without what the archive adds of its own accord."""
    fields = {name: value for name, value in shown["data_fields"].items() if name.lower() not in _ELSEWHERE}
    if unescaped:
        fields = {name: _unescaped(value) for name, value in fields.items()}
    wanted = (*_FILLED, *_LISTS)
    children = {
        child["field"]: [(one["meta"]["xsi:type"], _plain(one, unescaped=unescaped)) for one in child["items"]]
        for child in shown["children"]
        if child["field"].lower().startswith(wanted)
    }
    return {"fields": fields, "children": children}


def _unescaped(value: object) -> object:
    return value.replace("&amp;", "&") if isinstance(value, str) else value


@pytest.fixture
def place(admin_of_all: World) -> World:
    """A project on a site that knows all types."""
    return admin_of_all


WAYS = ("query", "form", "document", "twice")


def _put(client: Client, way: str, address: str, item: Item, query: dict[str, str]) -> None:
    if way == "query":
        answers = [client("PUT", address, query=dict(some)) for some in _portions({"xsiType": item.type}, query)]
    elif way == "form":
        answers = [client("PUT", address + "?req_format=form", {"xsiType": item.type, **query})]
    else:
        body = to_xml(item).encode()
        answers = [client("PUT", address, body, headers=_DOCUMENT) for _ in range(2 if way == "twice" else 1)]
    for answer in answers:
        assert answer.status_code in (200, 201), answer.text


def _portions(base: dict[str, str], query: dict[str, str]) -> Iterator[dict[str, str]]:
    """Queries short enough for an address."""
    items = list(query.items())
    for start in range(0, len(items), 40):
        yield {**base, **dict(items[start : start + 40])}


@pytest.mark.parametrize("way", WAYS)
def test_every_field_of_a_subject(place: World, way: str) -> None:
    item, query = _filled("xnat:subjectData")

    _put(place.owner, way, "/data/projects/{P}/subjects/s", item, query)

    shown = _stored(place.owner, "/data/projects/{P}/subjects/s")
    assert _plain(shown, unescaped=way in ("query", "form")) == _plain(to_json(item, ""))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", _SESSIONS)
def test_every_field_of_a_session(place: World, kind: str, way: str) -> None:
    item, query = _filled(f"xnat:{kind}SessionData")
    address = "/data/projects/{P}/subjects/sub-01/experiments/e"

    _put(place.owner, way, address, item, query)

    assert _plain(_stored(place.owner, address), unescaped=way in ("query", "form")) == _plain(to_json(item, ""))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", _SCANS)
def test_every_field_of_a_scan(place: World, kind: str, way: str) -> None:
    item, query = _filled(f"xnat:{kind}ScanData")
    address = f"/data/experiments/{place.session}/scans/9"

    _put(place.owner, way, address, item, query)

    assert _plain(_stored(place.owner, address), unescaped=way in ("query", "form")) == _plain(to_json(item, ""))


@pytest.mark.parametrize("kind", _SESSIONS)
@pytest.mark.parametrize("way", ["import", "document"])
def test_every_field_in_the_document_of_a_session(place: World, kind: str, way: str) -> None:
    """Elements may come in any order; values are trimmed of nothing but their numbers."""
    session, _ = _filled(f"xnat:{kind}SessionData")
    session.fields.update({"label": "e", "project": place.project, "subject_ID": "sub-01"})
    scans = []
    for number, scan_kind in enumerate(_SCANS):
        scan, _ = _filled(f"xnat:{scan_kind}ScanData")
        scan.fields["ID"] = str(number)
        scans.append(scan)
    session.children["scans/scan"] = scans
    document = to_xml(session).encode()

    if way == "import":
        archive = make_zip({"session.xml": document, "files/a/b.txt": b""})
        headers = {"Content-Type": "application/zip"}
        query = {"import-handler": "XAR", "inbody": "true"}
        answer = place.owner("POST", "/data/services/import", archive, headers=headers, query=query)
        assert answer.status_code == 200, answer.text
    else:
        address = "/data/projects/{P}/subjects/sub-01/experiments/e"
        assert place.owner("PUT", address, document, headers=_DOCUMENT).status_code == 201

    shown = _stored(place.owner, "/data/projects/{P}/experiments/e")
    assert _plain(shown) == _plain(to_json(session, ""))
    shown_scans = next(child["items"] for child in shown["children"] if child["field"] == "scans/scan")
    assert [_plain(scan) for scan in shown_scans] == [_plain(to_json(scan, "")) for scan in scans]


# Lists, odd names and texts, limits

_ODD = "a & b <c> \"d\" 'e' é 中 🙂\nline"
SUBJECT = "/data/projects/{P}/subjects/sub-01"
SESSION = f"{SUBJECT}/experiments/ses-01"


def _params(world: World) -> dict[str, str]:
    (found,) = (
        child["items"]
        for child in _stored(world.owner, world.scan)["children"]
        if child["field"] == "parameters/addParam"
    )
    return {one["data_fields"]["name"]: one["data_fields"].get("addField", "") for one in found}


def _scan(inner: str) -> bytes:
    return f"<xnat:MRScan {XNAT}>{inner}</xnat:MRScan>".encode()


def test_members_of_lists_are_merged_by_name(world: World) -> None:
    two = '<xnat:addParam name="a">1</xnat:addParam><xnat:addParam name="b">2</xnat:addParam>'
    later = '<xnat:addParam name="b">3</xnat:addParam><xnat:addParam name="c">4</xnat:addParam>'

    for some in (two, later):
        inner = f"<xnat:parameters>{some}</xnat:parameters>"
        assert world.owner("PUT", world.scan, _scan(inner), headers=_DOCUMENT).status_code == 200

    assert _params(world) == {"a": "1", "b": "3", "c": "4"}


def test_frames_are_merged_by_number(world: World) -> None:
    address = f"/data/experiments/{world.session}/scans/pet"
    start = "xnat:petScanData/parameters/frames/frame"
    first = {"xsiType": "xnat:petScanData"}
    for number in (1, 2):
        frame = f"{start}[number={number}]"
        first |= {f"{frame}/starttime": "0", f"{frame}/length": "10", f"{frame}/units": "sec"}
    assert world.owner("PUT", address, query=first).status_code == 200

    world.owner("PUT", address, query={"xsiType": "xnat:petScanData", **_frame(f"{start}[number=2]", "5")})

    (frames,) = (child["items"] for child in _stored(world.owner, address)["children"])
    assert [(one["data_fields"]["number"], one["data_fields"]["length"]) for one in frames] == [(1, 10.0), (2, 5.0)]


def _frame(path: str, length: str) -> dict[str, str]:
    return {f"{path}/starttime": "0", f"{path}/length": length, f"{path}/units": "sec"}


@pytest.mark.parametrize("left_out", ["number", "starttime", "length", "units"])
def test_a_frame_must_be_complete(world: World, left_out: str) -> None:
    given = {"number": "1", "starttime": "0", "length": "1", "units": "sec"}
    attributes = " ".join(f'{name}="{value}"' for name, value in given.items() if name != left_out)
    inner = f"<xnat:parameters><xnat:frames><xnat:frame {attributes}/></xnat:frames></xnat:parameters>"
    document = f"<xnat:PETScan {XNAT}>{inner}</xnat:PETScan>"

    address = f"/data/experiments/{world.session}/scans/pet"
    answer = world.owner("PUT", address, document, headers=_DOCUMENT)

    assert (answer.status_code, "Required Field" in answer.text) == (400, True)


@pytest.mark.parametrize("name", ["a b", "SliceTiming/ms", "x=y", "é中", "a.b-c_d%", "1"])
def test_parameters_may_have_odd_names(world: World, name: str) -> None:
    world.owner("PUT", world.scan, query={f"xnat:mrScanData/parameters/addParam[name={name}]/addField": "v"})

    assert _params(world) == {name: "v"}


def test_text_of_documents_is_kept_as_it_is(world: World) -> None:
    shown = _ODD.replace("&", "&amp;").replace("<", "&lt;")
    inner = f'<xnat:parameters><xnat:addParam name="k">{shown}</xnat:addParam></xnat:parameters>'
    world.owner("PUT", world.scan, _scan(inner), headers=_DOCUMENT)
    field = f'<xnat:fields><xnat:field name="k">{shown}</xnat:field></xnat:fields>'
    world.owner("PUT", SESSION, f"<xnat:MRSession {XNAT}>{field}</xnat:MRSession>".encode(), headers=_DOCUMENT)

    assert _params(world) == {"k": _ODD}
    (child,) = (one for one in _stored(world.owner, SESSION)["children"] if one["field"] == "fields/field")
    assert child["items"][0]["data_fields"] == {"name": "k", "field": _ODD}


def test_elements_may_come_in_any_order(world: World) -> None:
    inner = (
        '<xnat:parameters><xnat:addParam name="k">v</xnat:addParam><xnat:te>3</xnat:te><xnat:tr>2</xnat:tr>'
        '<xnat:voxelRes y="2" x="1"/></xnat:parameters><xnat:frames>4</xnat:frames><xnat:note>n</xnat:note>'
    )

    assert world.owner("PUT", world.scan, _scan(inner), headers=_DOCUMENT).status_code == 200

    shown = _stored(world.owner, world.scan)["data_fields"]
    names = ("note", "frames", "parameters/tr", "parameters/te", "parameters/voxelRes/x", "parameters/voxelRes/y")
    assert [shown[name] for name in names] == ["n", 4, 2.0, 3.0, 1.0, 2.0]


@pytest.mark.parametrize(("text", "status"), [("x" * 255, 200), ("x" * 256, 400), ("é" * 255, 200), ("🙂" * 128, 400)])
@pytest.mark.parametrize("way", ["query", "document"])
def test_texts_have_255_characters_at_most(world: World, text: str, status: int, way: str) -> None:
    if way == "query":
        answer = world.owner("PUT", world.scan, query={"xnat:mrScanData/parameters/addParam[name=k]/addField": text})
    else:
        inner = f'<xnat:parameters><xnat:addParam name="k">{text}</xnat:addParam></xnat:parameters>'
        answer = world.owner("PUT", world.scan, _scan(inner), headers=_DOCUMENT)

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("path", "value", "status", "says"),
    [
        ("education", "31", 400, "Must Be Less Than 30"),
        ("education", "-1", 400, "Must Be More Than 0"),
        ("education", "30", 200, ""),
        ("employment", "4", 400, "Must Be Less Than 3"),
        ("age", "nan", 500, ""),
        ("dob", "NaN", 500, ""),
    ],
)
def test_values_keep_within_their_bounds(world: World, path: str, value: str, status: int, says: str) -> None:
    start = "xnat:subjectData/demographics[@xsi:type=xnat:demographicData]"

    answer = world.owner("PUT", SUBJECT, query={f"{start}/{path}": value})

    assert answer.status_code == status
    assert says in answer.text


def test_null_takes_a_parameter_away(world: World) -> None:
    path = "xnat:mrScanData/parameters/addParam[name={}]/addField"
    world.owner("PUT", world.scan, query={path.format("a"): "1", path.format("b"): "2"})

    world.owner("PUT", world.scan, query={path.format("a"): "NULL"})

    assert _params(world) == {"b": "2"}


def test_members_of_lists_can_be_counted(world: World) -> None:
    start = "xnat:mrSessionData/fields/field"
    query = {f"{start}[0]/name": "a", f"{start}[0]/field": "1", f"{start}[1]/name": "b", f"{start}[1]/field": "2"}

    world.owner("PUT", SESSION, query=query)

    (child,) = (one for one in _stored(world.owner, SESSION)["children"] if one["field"] == "fields/field")
    assert [one["data_fields"] for one in child["items"]] == [{"name": "a", "field": "1"}, {"name": "b", "field": "2"}]


def test_scans_can_be_addressed_in_their_session(world: World) -> None:
    start = "xnat:mrSessionData/scans/scan"
    kind = "[@xsi:type=xnat:petScanData]"
    query = {f"{start}[ID=1]/quality": "usable", f"{start}[ID=2]{kind}/type": "PET", f"{start}{kind}[ID=2]/note": "n"}

    assert world.owner("PUT", SESSION, query=query).status_code == 200

    first, second = world.owner.rows(f"/data/experiments/{world.session}/scans")
    assert (first["type"], first["quality"], first["xsiType"]) == ("T1w", "usable", "xnat:mrScanData")
    assert (second["type"], second["note"], second["xsiType"]) == ("PET", "n", "xnat:petScanData")


def test_an_object_of_the_wrong_kind_is_an_unknown_field(world: World) -> None:
    path = "xnat:subjectData/demographics[@xsi:type=xnat:mrScanData]/note"

    assert world.owner("PUT", SUBJECT, query={path: "n"}).status_code == 200

    assert "demographics" not in {child["field"] for child in _stored(world.owner, SUBJECT)["children"]}


def test_short_names_of_a_pet_session(world: World) -> None:
    address = f"{SUBJECT}/experiments/pet"
    given = {"tracer_name": "FDG", "tracer_isotope": "F18", "tracer_isotope_half-life": "6586.2", "protocol": "p"}
    given |= {"tracer_dose": "185.5", "injection_start_time": "2020-01-02T10:00:00"}

    world.owner("PUT", address, query={"xsiType": "xnat:petSessionData", **given})

    shown = _stored(world.owner, address)["data_fields"]
    assert (shown["tracer/name"], shown["tracer/isotope"], shown["tracer/isotope/half-life"]) == ("FDG", "F18", 6586.2)
    assert (shown["tracer/dose"], shown["start_time_injection"]) == (185.5, "2020-01-02 10:00:00.0")
    assert shown["protocol"] == "p"
