"""What the site says of itself: its version, its schema, its registered types, previews of scans."""

from __future__ import annotations

from typing import Final

from . import finding, records, rights, schema, views
from .records import Owner
from .tables import table, to_json
from .web import BAD_REQUEST, XAPI_JSON, Answer, Call, FilePart, plain_part, refuse

_VERSION: Final = "1.8.11"
_FIELDS: Final = ("INSERT_DATE", "INSERT_USER", "PROJECT", "LABEL", "DATE", "SUBJECT_ID", "SUBJECT_LABEL")
_CONTENTS: Final = {"snapshot": "ORIGINAL", "thumbnail": "THUMBNAIL"}


def build_info(call: Call) -> Answer:
    """Which version of XNAT this server answers like."""
    info = {"version": _VERSION, "buildNumber": "embedded", "buildDate": "", "commit": "", "isDirty": "false"}
    return Answer(200, to_json(info), XAPI_JSON)


def schemas(call: Call) -> Answer:
    """The names of the schema documents."""
    return Answer(200, to_json(list(schema.DOCUMENTS)), XAPI_JSON)


def schema_document(call: Call, name: str, inner: str | None = None) -> Answer:
    """One schema document."""
    if name not in schema.DOCUMENTS or inner not in (None, name):
        text = f"Unable to find requested file or resource: classpath:schemas/{name}/{inner or name}.xsd"
        return Answer(404, text.encode("utf-8", "replace"), "text/plain")
    return Answer(200, schema.document(name), "application/xml;charset=ISO-8859-1")


def elements(call: Call) -> Answer:
    """The registered types."""
    with call.site.database.read() as db:
        counts = {row[0]: row[1] for row in db.execute("SELECT type, count(*) FROM experiment GROUP BY type")}
        counts["xnat:subjectData"] = db.execute("SELECT count(*) FROM subject").fetchone()[0]
        counts["xnat:projectData"] = db.execute("SELECT count(*) FROM project").fetchone()[0]
    rows = []
    for name in sorted(call.site.registered):
        element = (schema.types()[name].element or name).removeprefix("xnat:")
        rows.append(
            {
                "ELEMENT_NAME": name,
                "SINGULAR": element,
                "PLURAL": f"{element}s",
                "SECURED": "true",
                "COUNT": str(counts.get(name, 0)) if call.user.admin else "",
            }
        )
    return table(call.format, ("ELEMENT_NAME", "SINGULAR", "PLURAL", "SECURED", "COUNT"), rows)


def element_fields(call: Call, name: str) -> Answer:
    """The display fields of a type, registered or not."""
    name = plain_part(name)
    found = schema.types().get(name)
    if found is None:
        raise refuse(400, BAD_REQUEST)
    prefix = name.partition(":")[2].removesuffix("Data").upper()
    rows = [
        {
            "FIELD_ID": field,
            "HEADER": field.replace("_", " ").title(),
            "SUMMARY": "",
            "TYPE": "date" if field.endswith("DATE") else "string",
            "REQUIRES_VALUE": "false",
            "DESC": "",
            "ELEMENT_NAME": name,
            "SRC": "0",
        }
        for field in (*_FIELDS, f"{prefix}_ID")
    ]
    columns = ("FIELD_ID", "HEADER", "SUMMARY", "TYPE", "REQUIRES_VALUE", "DESC", "ELEMENT_NAME", "SRC")
    return table(call.format, columns, rows)


def snapshot(call: Call, project: str, experiment: str, scan: str, kind: str) -> Answer:
    """The preview of a scan: the file of its resource SNAPSHOTS that has the right content."""
    if kind not in _CONTENTS:
        return Answer(404)
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        if not rights.in_project(db, call.user, within).read:
            return Answer(403)
        session = finding.experiment(call, db, None, experiment)
        named = session or (finding.experiment(call, db, within, experiment) if within else None)
        found = records.scan_by_id(db, session.id, scan) if session else None
        if session is not None and found is not None:
            for resource in records.resources_of(db, Owner(experiment=session.id, scan=found.key)):
                if resource.label != "SNAPSHOTS":
                    continue
                for entry in records.entries_of(db, [resource.key])[resource.key]:
                    if entry.content == _CONTENTS[kind]:
                        path = views.resource_folder(call.site.files, db, resource) / entry.uri
                        return Answer(200, FilePart(path, 0, path.stat().st_size), "image/gif")
    shown = named.id if named else experiment
    text = (
        f"Unable to find requested file or resource: No resource of type {kind} with the ID or name "
        f"SessionId: {shown}, ScanId: {scan} exists."
    )
    return Answer(404, text.encode("utf-8", "replace"), "text/plain")


def front(call: Call) -> Answer:
    """The root of the site."""
    place = "/app/template/Login.vm" if call.user.guest else "/app/template/Index.vm"
    return Answer(302, b"", None, [("Location", f"{call.base_url}{place}")])
