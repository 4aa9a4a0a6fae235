"""The archive: everything that is asked of an XNAT server, in XNAT's words.

Each method is one request (or says how many); none decides anything. Answers are translated here, once, into values
of `model`.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import IO, TypedDict, TypeVar, cast
from urllib.parse import quote, unquote

from defusedxml import DefusedXmlException, ElementTree

from xnat_bids_push.client import Credentials, Response, Session, greet, json_of, list_of, rows_of
from xnat_bids_push.documents import fields_document, new_scans_document, subject_document
from xnat_bids_push.errors import AccessDenied, ArchiveError, ConfigError, Rejected, Unavailable
from xnat_bids_push.flow import Bucket, Incoming
from xnat_bids_push.model import (
    Address,
    CreateScans,
    CreateSubject,
    Deletion,
    Experiment,
    Field,
    FillResource,
    Holding,
    ImportSession,
    Node,
    SendFile,
    SetFields,
    Shown,
    StoredFile,
)
from xnat_bids_push.package import Body, Sent, Stream, Watch, resource_body, session_archive, single_body
from xnat_bids_push.planning import same_value
from xnat_bids_push.schema import Schema
from xnat_bids_push.table import Table
from xnat_bids_push.uris import file_uri, inside, node_uri

LISTED_AT_ONCE = 100
"""Experiments in one listing. A longer list is answered with another question's answer (XNAT 1.8: from about
2,200 characters on), so that its length is bounded too."""

_LIST_LENGTH = 1200

_QUERY_LENGTH = 6000
"""Characters of a query: XNAT's servlet container refuses requests from 8 KB on."""

_Told = TypeVar("_Told")


class _Item(TypedDict):
    """An object as XNAT's JSON shows it."""

    data_fields: dict[str, object]
    meta: dict[str, object]
    children: list[_Child]


class _Child(TypedDict):
    field: str
    items: list[_Item]


class Archive:
    """One project of one XNAT server, logged in. Make one with `connect`.

    Args:
        project: the project's ID.
    """

    def __init__(self, session: Session, project: str) -> None:
        self._session = session
        self.project = project
        self._lock = threading.Lock()
        self._schema: Schema | None = None

    @property
    def server(self) -> str:
        """The server's address."""
        return self._session.credentials.server

    @property
    def user(self) -> str:
        """The login."""
        return self._session.credentials.user

    @property
    def survived(self) -> Mapping[str, int]:
        """Reads that failed and may have been repeated, and logins that were renewed: how many, by their causes."""
        return self._session.survived

    def listen(self, say: Callable[[str], None]) -> None:
        """Tell somebody, in lines for people, when the server is in distress, and what is done about it."""
        self._session.gate.say = say

    def limit(self, rate: float | None) -> None:
        """Let no more bytes go out and come in than so many a second, all together."""
        self._session.bucket = Bucket(rate) if rate else None

    def close(self) -> None:
        """Log out."""
        self._session.close()

    # ---------------------------------------------------------------- the site

    def registered_types(self) -> frozenset[str]:
        """The data types that the site's administrator has set up."""
        rows = self._session.rows("/data/search/elements", "ELEMENT_NAME")
        return frozenset(str(row["ELEMENT_NAME"]) for row in rows)

    def may_edit_project(self) -> bool:
        """Whether the user may write what belongs to the project itself: who is in it is told to those only."""
        try:
            self._session.rows(f"{self._path(Node())}/users")
        except AccessDenied:
            return False
        except Rejected:
            pass  # a server that does not know the question is no reason to give up: a write will tell
        return True

    def may_create_subjects(self) -> bool:
        """Whether the user may create subjects, and so is a Member at least.

        A server is believed that it is not so only if it lists the project among those that the user may read.
        """
        return self._is_listed_for("create") or not self._is_listed_for("read")

    def _is_listed_for(self, action: str) -> bool:
        try:
            rows = self._session.rows("/data/projects", permissions=action, dataType="xnat:subjectData")
        except (AccessDenied, Rejected):
            return False
        return any(self.project == row.get("id", row.get("ID")) for row in rows)

    def schema(self) -> Schema:
        """The server's own data model; asked for once."""
        with self._lock:
            if self._schema is None:
                self._schema = self._session.read("/xapi/schemas/xnat", _schema)
            return self._schema

    # ---------------------------------------------------------------- what the user is told of himself

    def login(self) -> str:
        """The user's name; a token's owner."""
        found = re.search(r"User '([^<']+)' is logged in", self._session.get("/data/auth").text)
        return found[1] if found else ""

    def groups(self, login: str) -> frozenset[str]:
        """The user's groups, such as ``PROJECT_member``, and roles on the whole site, such as ``Administrator``."""
        paths = (f"/xapi/users/{_part(login)}/{kind}" for kind in ("groups", "roles"))
        return frozenset(str(name) for path in paths for name in list_of(self._session.get(path)))

    def may(self, right: str, xsi_type: str) -> bool:
        """Whether the user has a right (read, edit, create, delete) on sessions of a type in the project."""
        rows = self._session.rows("/data/projects", permissions=right, dataType=xsi_type)
        return self.project in {str(row.get("id", row.get("ID", ""))) for row in rows}

    def project_setting(self, name: str) -> str:
        """A setting of the project: ``accessibility``, ``quarantine_code``."""
        return self._session.get(f"{self._path(Node())}/{name}").text.strip()

    def version(self) -> str:
        """The server's version of XNAT."""
        return str(json_of(self._session.get("/xapi/siteConfig/buildInfo")).get("version", ""))

    def site_setting(self, name: str) -> str:
        """A setting of the site, in lower case; most are for administrators only."""
        return self._session.get(f"/xapi/siteConfig/{name}").text.strip().strip('"').lower()

    # ---------------------------------------------------------------- the inventory

    def subjects(self) -> dict[str, str]:
        """The project's subjects: label → ID, sorted."""
        rows = self._session.rows(f"{self._path(Node())}/subjects", "ID", "label", columns="ID,label")
        return {str(row["label"]): str(row["ID"]) for row in sorted(rows, key=lambda row: str(row["label"]))}

    def experiments(self) -> dict[str, Experiment]:
        """The project's own experiments by label, sorted; those that other projects share with it are left out.

        XNAT lists none whose type is not registered on the site.
        """
        columns = ("ID", "label", "xsiType", "subject_label")
        path = f"{self._path(Node())}/experiments"
        rows = self._session.rows(path, *columns[:3], columns=",".join(columns))
        found = [
            Experiment(str(row["ID"]), str(row["label"]), str(row.get("subject_label", "")), str(row["xsiType"]))
            for row in rows
            if row.get("project", self.project) == self.project
        ]
        return {experiment.label: experiment for experiment in sorted(found, key=lambda one: one.label)}

    def holdings(self, experiments: Iterable[Experiment]) -> dict[str, Holding]:
        """What the server has in experiments, by label: one request for up to 100 of them."""
        found: dict[str, Holding] = {}
        known = {one.id: one for one in experiments}
        for portion in _portions(known, _LIST_LENGTH, LISTED_AT_ONCE):
            batch = [known[identifier] for identifier in portion]
            nodes = {one.id: Node(one.subject, one.label) for one in batch}
            found |= {one.label: Holding(nodes[one.id], one.id, one.xsi_type) for one in batch}
            for stored in self._files(f"/data/experiments/{','.join(nodes)}/files", nodes, all="true"):
                found[stored.address.node.experiment].files[stored.address] = stored
        return found

    def node_holding(self, node: Node) -> Holding:
        """What the server has at the project itself, or at a subject itself: one request."""
        stored = self._files(f"{self._path(node)}/files", {"": node})
        return Holding(node, str(node), files={one.address: one for one in stored})

    def holdings_at(
        self, nodes: Sequence[Node], *, experiments: Mapping[str, Experiment], subjects: Container[str]
    ) -> dict[Node, Holding]:
        """What the server has at nodes of any kind: one request for 100 experiments, and one for each other node.

        Args:
            nodes: which.
            experiments: what the project is known to have, by label.
            subjects: the same, of subjects.
        """
        labels = (node.experiment for node in nodes if node.experiment in experiments)
        listed = self.holdings(experiments[label] for label in labels)
        found: dict[Node, Holding] = {}
        for node in nodes:
            if node.experiment:
                found[node] = listed.get(node.experiment, Holding(node))
            else:
                there = not node.subject or node.subject in subjects
                found[node] = self.node_holding(node) if there else Holding(node)
        return found

    def _files(self, path: str, nodes: Mapping[str, Node], **query: str) -> Iterator[StoredFile]:
        yield from self._session.read(path, partial(_stored, nodes=nodes), format="json", **query)

    def scans(self, node: Node) -> frozenset[str]:
        """The IDs of an experiment's scans."""
        return frozenset(str(row["ID"]) for row in self._session.rows(f"{self._path(node)}/scans", "ID"))

    def shown(self, node: Node) -> Shown:
        """The fields that the server shows of an experiment and its scans, or of a subject: one request."""
        return self._read_item(node, _shown)

    def _read_item(self, node: Node, understand: Callable[[_Item], _Told]) -> _Told:
        return self._session.read(self._path(node), lambda answer: understand(_item(answer)), format="json")

    def type_of(self, node: Node) -> str:
        """The type of an experiment, listed or not; "" if there is none."""
        try:
            return self._read_item(node, lambda item: str(item["meta"].get("xsi:type", "")))
        except Rejected as error:
            if error.status != 404:
                raise
            return ""

    def is_bare_subject(self, label: str, fields: Iterable[Field]) -> bool:
        """Whether a subject is nothing but its label and the given fields: no experiments, resources, other fields."""
        return self._read_item(Node(label), partial(_is_bare, fields=tuple(fields)))

    def foreign_contents(self, node: Node, scans: Set[str]) -> tuple[str, ...]:
        """What an experiment holds beyond files, fields and the given scans: other scans, assessors, and so on."""
        return self._read_item(node, partial(_foreign, scans=scans))

    # ---------------------------------------------------------------- creating and sending

    def create_subject(self, step: CreateSubject) -> None:
        """Create a subject with its fields; one that exists stays as it is, but for these fields."""
        document = subject_document(step.fields, self.schema()) if step.fields else None
        refusal = "XNAT does not take this subject" if document else "XNAT does not take this subject's label"
        self._session.put(self._path(Node(step.label)), document=document, refusal=refusal)

    def create_scans(self, step: CreateScans) -> frozenset[str]:
        """Create scans, but for those that are there: what curators wrote into them is theirs. Two requests.

        Returns:
            The IDs of those that were created.
        """
        there = self.scans(step.node)
        new = [scan for scan in step.scans if scan.id not in there]
        if new:
            self._session.put(self._path(step.node), document=new_scans_document(step.xsi_type, new, self.schema()))
        return frozenset(scan.id for scan in new)

    def set_fields(self, step: SetFields) -> None:
        """Set fields of an experiment and its scans, or of a subject; all others stay as they are."""
        self._session.put(self._path(step.node), document=fields_document(step, self.schema()))

    def import_session(self, step: ImportSession, *, table: Table, sent: Sent, watch: Watch) -> str:
        """Create an experiment with its scans and files in one request; the answer is its ID.

        Raises:
            Unavailable: among others with a plain 500, which XNAT also gives for a label that exists (and then
                changes nothing) and for a document that it refuses: only a look at its listing tells.
        """
        schema = self.schema()
        if not schema.element(step.parcel.xsi_type):
            raise Rejected(f"the server's data model has no {step.parcel.xsi_type}")
        make = partial(session_archive, step.parcel, step.files, project=self.project, schema=schema, table=table)
        body = Stream(partial(make, sent=sent, watch=watch))
        path, query = "/data/services/import", {"import-handler": "XAR", "inbody": "true"}
        try:
            answer = self._session.post(path, query, data=body, content_type="application/zip")
        except Unavailable as error:
            if error.status != 500:
                raise
            words = "XNAT did not import the session: you may lack the right to, or it exists unlisted, or XNAT failed"
            raise Unavailable(words, method="POST", path=path, status=500) from error
        found = re.search(r"experiments/(\S+)", answer.text)
        if found is None:
            raise Unavailable("the import's answer names no experiment", method="POST", path=path)
        return found[1]

    def fill_resource(self, step: FillResource, *, table: Table, sent: Sent, watch: Watch) -> tuple[str, ...]:
        """Send files into one resource as one archive, which creates the resource if need be.

        Returns:
            The names that the server calls taken, and whose content it has not stored.
        """
        path = f"{self._path(step.node)}{inside(step.scan, step.resource)}/files/bids2xnat.tar"
        query = self._attributes(step.resource, table) | {"extract": "true"}
        body = resource_body(step.files, sent=sent, watch=watch)
        return self._send(path, query, body, replace=step.replace)

    def send_file(self, step: SendFile, *, table: Table, sent: Sent, watch: Watch) -> tuple[str, ...]:
        """Send one file by itself; the answer is as that of `fill_resource`."""
        address = step.placed.address
        path = file_uri(address, self.project)
        body = single_body(step.placed, sent=sent, watch=watch)
        return self._send(path, self._attributes(address.resource, table), body, replace=step.replace)

    def put_picture(self, address: Address, content: str, image: bytes) -> None:
        """Send a GIF for XNAT's own pages, of their ``content``; one of this name is written over."""
        body = Body(lambda: iter([image]), size=len(image))
        self._send(file_uri(address, self.project), {"format": "GIF", "content": content}, body, replace=True)

    def _send(self, path: str, query: dict[str, str], body: Body, *, replace: bool) -> tuple[str, ...]:
        overwrite = {"overwrite": "true"} if replace else {}
        answer = self._session.put(path, query | {"inbody": "true"} | overwrite, data=body)
        if "Content-Type" not in answer.headers:
            # The one visible sign of an upload without the right to it is an answer 200 without a type.
            raise AccessDenied("you may not write here; nothing was stored", method="PUT", path=path, status=403)
        if not answer.text.strip():
            return ()
        return tuple(str(name) for name in cast("list[object]", json_of(answer).get("duplicates", [])))

    def _attributes(self, resource: str, table: Table) -> dict[str, str]:
        kind, content = table.resource_attributes(resource)
        return {"format": kind, "content": content}

    def compute_digests(self, paths: Iterable[str]) -> None:
        """Make the server read its files and compute their digests; one request for a hundred objects or so.

        Args:
            paths: of experiments or resources, as `experiment_path` and `resource_path` give them.
        """
        for some in _portions([f"resource={quote(path, safe='/')}" for path in paths], _QUERY_LENGTH):
            query = "&".join(some)
            self._session.post(f"/data/services/refresh/catalog?{query}&options=checksum,populateStats", {})

    @staticmethod
    def experiment_path(identifier: str, scan: str = "", resource: str = "") -> str:
        """An experiment, or a resource in it, as `compute_digests` wants it named."""
        return f"/archive/experiments/{identifier}{inside(scan, resource)}"

    def resource_path(self, node: Node, resource: str) -> str:
        """A resource of the project or of a subject as `compute_digests` wants it named."""
        return f"{self._path(node)}{inside(resource=resource)}".replace("/data/", "/archive/", 1)

    # ---------------------------------------------------------------- fetching and deleting

    def download(self, experiment: Experiment, target: IO[bytes], *, most: int = sys.maxsize) -> None:
        """Everything of an experiment as one zip, written as it comes, up to so many bytes."""
        self._session.download(f"/data/experiments/{_part(experiment.id)}/files?all=true&format=zip", target, most=most)

    def download_node(self, node: Node, target: IO[bytes], *, most: int = sys.maxsize) -> None:
        """Everything of the project itself, or of a subject itself, as one zip."""
        self._session.download(f"{self._path(node)}/files?format=zip", target, most=most)

    def fetch_file(self, holding: Holding, address: Address, take: Callable[[Incoming], _Told]) -> _Told:
        """What is made of one file while it comes. Not every name can be said in an address: others are in archives."""
        path = file_uri(address, self.project)
        if holding.node.experiment:
            home = f"/data/experiments/{_part(holding.id)}{inside(address.scan, address.resource)}"
            path = f"{home}/files/{quote(address.name)}"
        return self._session.fetch(path, take)

    def delete(self, what: Deletion) -> None:
        """Delete something with its files; a subject only if it is bare, the project never.

        An experiment's address names both subject and experiment: XNAT would find it by less. A file's name must be
        none that another one begins with: XNAT would delete that, too.
        """
        whole = not (what.scan or what.resource)
        if whole and not what.node.subject:
            raise Rejected("a project is never deleted")
        if whole and not what.node.experiment and not self.is_bare_subject(what.node.subject, what.fields):
            return
        path = f"{self._path(what.node)}{inside(what.scan, what.resource)}"
        path += f"/files/{quote(what.name)}" if what.resource and what.name else ""
        self._session.delete(path)

    def _path(self, node: Node) -> str:
        return node_uri(node, self.project)


class EmptyProject(Archive):
    """A project that does not exist yet, and so holds nothing: what a plan is made against before it is created."""

    def subjects(self) -> dict[str, str]:
        """None."""
        return {}

    def experiments(self) -> dict[str, Experiment]:
        """None."""
        return {}

    def may_edit_project(self) -> bool:
        """Whoever creates a project owns it."""
        return True

    def node_holding(self, node: Node) -> Holding:
        """Nothing."""
        return Holding(node)


def _part(text: str) -> str:
    return quote(text, safe="")


_OWN_CHILDREN = frozenset({"resources/resource", "fields/field"})
"""What an experiment of ours holds beside its scans."""


def _item(answer: Response) -> _Item:
    return cast("_Item", json_of(answer)["items"][0])  # type: ignore[index]


def _schema(answer: Response) -> Schema:
    try:
        return Schema(ElementTree.fromstring(answer.content))
    except (ElementTree.ParseError, DefusedXmlException) as error:
        raise ValueError("the server's schema cannot be read") from error


def _is_bare(item: _Item, fields: Iterable[Field]) -> bool:
    ours = {field.path: field.value for field in fields}
    shown = {path: value for path, value in _shown(item).own.items() if path not in _NAMES}
    known = {child["field"] for child in item["children"]} <= {"demographics", "fields/field"}
    return known and all(same_value(ours.get(path, ""), value) for path, value in shown.items())


def _foreign(item: _Item, scans: Set[str]) -> tuple[str, ...]:
    found = []
    for child in item["children"]:
        for one in child["items"]:
            fields = one["data_fields"]
            name = str(fields.get("ID") or fields.get("label") or fields.get("name") or child["field"])
            known = name in scans if child["field"] == "scans/scan" else child["field"] in _OWN_CHILDREN
            if not known:
                found.append(f"{child['field'].partition('/')[0]}/{name}")
    return tuple(found)


def _shown(item: _Item) -> Shown:
    """The fields of an item: its own, and those of the scans in it."""
    scans = {
        str(one["data_fields"].get("ID", "")): dict(_values(one))
        for child in item["children"]
        if child["field"] == "scans/scan"
        for one in child["items"]
    }
    return Shown(dict(_values(item)), scans)


_NAMES = frozenset({"ID", "id", "project", "label"})
"""What an item shows beside its fields."""

_KEYS = ("name", "number")
"""What tells the elements of a list apart."""


def _values(item: _Item) -> Iterator[tuple[str, str]]:
    """The fields of an item and of what is part of it, by their paths: ``parameters/addParam[name=…]``."""
    yield from ((path, str(value)) for path, value in item["data_fields"].items())
    for child in item["children"]:
        if child["field"] not in ("scans/scan", "resources/resource", "file"):
            for one in child["items"]:
                yield from _part_values(child["field"], one)


def _part_values(front: str, item: _Item) -> Iterator[tuple[str, str]]:
    """The fields of an element; of one of several, its text has the element's own path."""
    key = next((key for key in _KEYS if key in item["data_fields"]), "")
    own = f"{front}[{key}={item['data_fields'][key]}]" if key else front
    for path, value in _values(item):
        if path != key:
            yield (own if path == _TEXT.get(front) else f"{own}/{path}"), value


_TEXT = {"parameters/addParam": "addField", "fields/field": "field"}
"""What XNAT calls the text of an element that has a name, too."""


def _portions(words: Iterable[str], length: int, number: int = sys.maxsize) -> Iterator[list[str]]:
    """Words in order, so many at a time that they and what parts them are no longer than that.

    >>> list(_portions(["aa", "b", "cc"], 5))
    [['aa', 'b'], ['cc']]
    """
    portion: list[str] = []
    room = length
    for word in words:
        if portion and (len(word) + 1 > room or len(portion) == number):
            yield portion
            portion, room = [], length
        portion.append(word)
        room -= len(word) + 1
    if portion:
        yield portion


_FILE_URI = re.compile(
    r"/data(?:/archive)?/(?:experiments/(?P<id>[^/]+)(?:/scans/(?P<scan>[^/]+))?|projects/[^/]+(?:/subjects/[^/]+)?)"
    r"/resources/[^/]+/files/(?P<name>.+)",
    re.DOTALL,
)


def _stored(answer: Response, nodes: Mapping[str, Node]) -> list[StoredFile]:
    """The files of a listing; other columns would be the answer to another question."""
    rows = rows_of(answer, ("URI", "Size", "collection", "digest"))
    sizes = (str(row["Size"]) for row in rows)
    return [
        StoredFile(_address(row, nodes), int(size) if size else -1, str(row["digest"]).lower())
        for row, size in zip(rows, sizes, strict=True)
    ]


def _address(row: Mapping[str, object], nodes: Mapping[str, Node]) -> Address:
    """The address of a row of a files listing; what is neither session, scan nor node resource keeps its URI."""
    match = _FILE_URI.fullmatch(str(row["URI"]))
    if match is None or (match["id"] or "") not in nodes:
        identifier = next((key for key in nodes if f"/{key}/" in str(row["URI"])), next(iter(nodes)))
        return Address(nodes[identifier], "?", str(row["collection"]), str(row["URI"]))
    return Address(nodes[match["id"] or ""], unquote(match["scan"] or ""), str(row["collection"]), match["name"])


# ------------------------------------------------------------------ logging in


def open_archive(credentials: Credentials, project: str, *, create: bool = False, pretend: bool = False) -> Archive:
    """Log in, and find the project.

    Args:
        credentials: where, and as whom.
        project: the project's ID.
        create: create the project, private, if it does not exist.
        pretend: look upon a project that does not exist as an empty one.

    Raises:
        ConfigError: the address is no URL, its certificate is not trusted, or a new project cannot have this ID.
        Unavailable: nothing answers there, or what answers is no XNAT.
        Rejected: there is no such project, or it cannot be created.
        AccessDenied: the login fails.
    """
    return find_archive(enter(credentials), project, create=create, pretend=pretend)


def enter(credentials: Credentials) -> Session:
    """Log in.

    Raises:
        ConfigError: the address is no URL, or its certificate is not trusted.
        Unavailable: nothing answers there, or what answers is no XNAT.
        AccessDenied: the login fails.
    """
    there = greet(credentials.server, ca_bundle=credentials.ca_bundle, patience=credentials.patience).server
    return Session(replace(credentials, server=there))


def find_archive(session: Session, project: str, *, create: bool = False, pretend: bool = False) -> Archive:
    """Find the project where one is logged in; see `open_archive`."""
    try:
        found = _find_project(session, project)
        if not found and (pretend or create) and not _PROJECT_ID.fullmatch(project):
            raise ConfigError(f"{project!r} cannot be a project's ID: take letters, digits, _ and - of ASCII only")
        if not found and pretend:
            return EmptyProject(session, project)
        if not found and create:
            found = _create_project(session, project)
        elif not found:
            advice = "check its ID, or create it with --create-project"
            raise Rejected(f"there is no project {project}, or you may not see it: {advice}", status=404)
        return Archive(session, found or project)
    except (ArchiveError, ConfigError):
        session.close()
        raise


_PROJECT_ID = re.compile("[A-Za-z0-9_-]+")
"""What XNAT takes for a new one; an old one may have other names beside its ID."""


def _create_project(session: Session, project: str) -> str:
    """Create a project; its ID. Another push may be faster, and then nothing is wrong."""
    try:
        session.put(node_uri(Node(), project), {"accessibility": "private"}, refusal="XNAT refused this project")
    except (Rejected, AccessDenied, Unavailable):
        found = _find_project(session, project)
        if not found:
            raise
        return found
    return project


def _find_project(session: Session, project: str) -> str:
    """The project's ID, which may have been named by an alias; "" if there is none that the user may see."""
    try:
        return session.read(
            node_uri(Node(), project), lambda answer: str(_item(answer)["data_fields"]["ID"]), format="json"
        )
    except Rejected as error:
        if error.status != 404:
            raise
        return ""
