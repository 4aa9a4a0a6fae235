"""The archive: everything that is asked of an XNAT server, in XNAT's words. The door to xnatpy.

Each method is one request (or says how many); none decides anything. Answers are translated here, once: into values
of `model`, or into errors whose type says whether trying again can help. Writes are never repeated here, because
some would act twice: whoever acts looks first, and plans again.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import IO, TypedDict, cast
from urllib.parse import quote, unquote, urlsplit

import requests
import requests.adapters
import stamina
import xnat
import xnat.exceptions
from defusedxml import ElementTree

from xnat_bids_push.documents import fields_document, new_scans_document, subject_document
from xnat_bids_push.errors import AccessDenied, ArchiveError, ConfigError, Rejected, Unavailable
from xnat_bids_push.model import (
    Address,
    CreateScans,
    CreateSubject,
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

TIMEOUT = (15.0, 300.0)
"""Seconds to connect, and to wait between two bytes of an answer."""

LONG_TIMEOUT = (15.0, 3600.0)
"""The same for requests after which the server works through gigabytes before it answers."""

LISTED_AT_ONCE = 100
"""Experiments in one listing. A longer list is answered with another question's answer (XNAT 1.8: from about
2,200 characters on), so that its length is bounded too."""

_LIST_LENGTH = 1200

_HTML = ("<!doctype", "<html")


class _Item(TypedDict):
    """An object as XNAT's JSON shows it."""

    data_fields: dict[str, object]
    children: list[_Child]


class _Child(TypedDict):
    field: str
    items: list[_Item]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where to log in, and as whom. The password appears in no representation."""

    server: str
    user: str
    password: str = field(repr=False)
    verify: bool = True


class Archive:
    """One project of one XNAT server, logged in. Make one with `connect`.

    Args:
        project: the project's ID.
    """

    def __init__(self, session: _Session, project: str) -> None:
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

    def close(self) -> None:
        """Log out."""
        self._session.close()

    # ---------------------------------------------------------------- the site

    def registered_types(self) -> frozenset[str]:
        """The data types that the site's administrator has set up."""
        rows = self._session.rows("/data/search/elements")
        return frozenset(str(row["ELEMENT_NAME"]) for row in rows)

    def schema(self) -> Schema:
        """The server's own data model; asked for once."""
        with self._lock:
            if self._schema is None:
                path = "/xapi/schemas/xnat"
                try:
                    self._schema = Schema(ElementTree.fromstring(self._session.get(path).content))
                except ElementTree.ParseError as error:
                    raise Rejected("the server's schema cannot be read", method="GET", path=path) from error
            return self._schema

    # ---------------------------------------------------------------- the inventory

    def subjects(self) -> dict[str, str]:
        """The project's subjects: label → ID, sorted."""
        rows = self._session.rows(f"{_project_path(self.project)}/subjects", columns="ID,label")
        return {str(row["label"]): str(row["ID"]) for row in sorted(rows, key=lambda row: str(row["label"]))}

    def experiments(self) -> dict[str, Experiment]:
        """The project's own experiments by label, sorted; those that other projects share with it are left out.

        XNAT lists none whose type is not registered on the site.
        """
        rows = self._session.rows(
            f"{_project_path(self.project)}/experiments", columns="ID,label,xsiType,subject_label"
        )
        found = [
            Experiment(str(row["ID"]), str(row["label"]), str(row.get("subject_label", "")), str(row["xsiType"]))
            for row in rows
            if row.get("project", self.project) == self.project
        ]
        return {experiment.label: experiment for experiment in sorted(found, key=lambda one: one.label)}

    def holdings(self, experiments: Iterable[Experiment]) -> dict[str, Holding]:
        """What the server has in experiments, by label: one request for up to 100 of them."""
        found: dict[str, Holding] = {}
        for batch in _batches(list(experiments)):
            nodes = {one.id: Node(one.subject, one.label) for one in batch}
            found |= {one.label: Holding(nodes[one.id], one.id, one.xsi_type) for one in batch}
            for stored in self._files(f"/data/experiments/{','.join(nodes)}/files", nodes, all="true"):
                found[stored.address.node.experiment].files[stored.address] = stored
        return found

    def node_holding(self, node: Node) -> Holding:
        """What the server has at the project itself, or at a subject itself: one request."""
        stored = self._files(f"{self._path(node)}/files", {"": node})
        return Holding(node, str(node), files={one.address: one for one in stored})

    def _files(self, path: str, nodes: Mapping[str, Node], **query: str) -> Iterator[StoredFile]:
        for row in self._session.rows(path, **query):
            if not {"URI", "Size", "collection", "digest"} <= row.keys():
                raise Unavailable("the server answered another question than the one asked", method="GET", path=path)
            size = str(row["Size"])
            yield StoredFile(_address(row, nodes), int(size) if size else -1, str(row["digest"]).lower())

    def scans(self, node: Node) -> frozenset[str]:
        """The IDs of an experiment's scans."""
        return frozenset(str(row["ID"]) for row in self._session.rows(f"{self._path(node)}/scans"))

    def shown(self, node: Node) -> Shown:
        """The fields that the server shows of an experiment and its scans, or of a subject: one request."""
        return _shown(self._item(node))

    def _item(self, node: Node) -> _Item:
        return cast("_Item", _json(self._session.get(self._path(node), format="json"))["items"][0])  # type: ignore[index]

    def is_bare_subject(self, label: str, fields: Iterable[Field]) -> bool:
        """Whether a subject is nothing but its label and the given fields: no experiments, resources, other fields."""
        item = self._item(Node(label))
        ours = {field.path: field.value for field in fields}
        shown = {path: value for path, value in _shown(item).own.items() if path not in _NAMES}
        known = {child["field"] for child in item["children"]} <= {"demographics", "fields/field"}
        return known and all(same_value(ours.get(path, ""), value) for path, value in shown.items())

    def foreign_contents(self, node: Node, scans: Set[str]) -> tuple[str, ...]:
        """What an experiment holds beyond files, fields and the given scans: other scans, assessors, and so on."""
        found = []
        for child in self._item(node)["children"]:
            for one in child["items"]:
                fields = one["data_fields"]
                name = str(fields.get("ID") or fields.get("label") or fields.get("name") or child["field"])
                known = name in scans if child["field"] == "scans/scan" else child["field"] in _OWN_CHILDREN
                if not known:
                    found.append(f"{child['field'].partition('/')[0]}/{name}")
        return tuple(found)

    # ---------------------------------------------------------------- creating and sending

    def create_subject(self, step: CreateSubject) -> None:
        """Create a subject with its fields; one that exists stays as it is, but for these fields."""
        document = subject_document(step.fields, self.schema()) if step.fields else None
        refusal = "XNAT does not take this subject" if document else "XNAT does not take this subject's label"
        self._session.put(self._path(Node(step.label)), document=document, refusal=refusal)

    def create_scans(self, step: CreateScans) -> None:
        """Create scans, but for those that are there: what curators wrote into them is theirs. Two requests."""
        there = self.scans(step.node)
        new = [scan for scan in step.scans if scan.id not in there]
        if new:
            self._session.put(self._path(step.node), document=new_scans_document(step.xsi_type, new, self.schema()))

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
        path = f"{self._resource_path(step.node, step.scan, step.resource)}/files/bids2xnat.tar"
        query = self._attributes(step.resource, table) | {"extract": "true"}
        body = resource_body(step.files, sent=sent, watch=watch)
        return self._send(path, query, body, replace=step.replace)

    def send_file(self, step: SendFile, *, table: Table, sent: Sent, watch: Watch) -> tuple[str, ...]:
        """Send one file by itself; the answer is as that of `fill_resource`."""
        address = step.placed.address
        path = f"{self._resource_path(address.node, address.scan, address.resource)}/files/{quote(address.name)}"
        body = single_body(step.placed, sent=sent, watch=watch)
        return self._send(path, self._attributes(address.resource, table), body, replace=step.replace)

    def _send(self, path: str, query: dict[str, str], body: Body, *, replace: bool) -> tuple[str, ...]:
        overwrite = {"overwrite": "true"} if replace else {}
        answer = self._session.put(path, query | {"inbody": "true"} | overwrite, data=body, timeout=LONG_TIMEOUT)
        if "Content-Type" not in answer.headers:
            # The one visible sign of an upload without the right to it is an answer 200 without a type.
            raise AccessDenied("you may not write here; nothing was stored", method="PUT", path=path, status=403)
        if not answer.text.strip():
            return ()
        return tuple(str(name) for name in cast("list[object]", _json(answer).get("duplicates", [])))

    def _attributes(self, resource: str, table: Table) -> dict[str, str]:
        kind, content = table.resource_attributes(resource)
        return {"format": kind, "content": content}

    def compute_digests(self, paths: Iterable[str]) -> None:
        """Make the server read its files and compute their digests; one request for many objects.

        Args:
            paths: of experiments or resources, as `experiment_path` and `resource_path` give them.
        """
        resources = "&".join(f"resource={quote(path, safe='/')}" for path in paths)
        self._session.post(f"/data/services/refresh/catalog?{resources}&options=checksum,populateStats", {})

    @staticmethod
    def experiment_path(identifier: str) -> str:
        """An experiment as `compute_digests` wants it named."""
        return f"/archive/experiments/{identifier}"

    def resource_path(self, node: Node, resource: str) -> str:
        """A resource of the project or of a subject as `compute_digests` wants it named."""
        return self._resource_path(node, "", resource).replace("/data/", "/archive/", 1)

    # ---------------------------------------------------------------- fetching and deleting

    def download(self, experiment: Experiment, target: IO[bytes]) -> None:
        """Everything of an experiment as one zip, written as it comes."""
        self._session.download(f"/data/experiments/{_part(experiment.id)}/files?all=true&format=zip", target)

    def download_node(self, node: Node, target: IO[bytes]) -> None:
        """Everything of the project itself, or of a subject itself, as one zip."""
        self._session.download(f"{self._path(node)}/files?format=zip", target)

    def delete_experiment(self, node: Node) -> None:
        """Delete an experiment with its files, by an address that names both subject and experiment."""
        self._session.delete(self._path(node))

    def delete_scan(self, node: Node, scan: str) -> None:
        """Delete a scan with its files."""
        self._session.delete(f"{self._path(node)}/scans/{_part(scan)}")

    def delete_resource(self, node: Node, scan: str, resource: str) -> None:
        """Delete a resource with its files."""
        self._session.delete(self._resource_path(node, scan, resource))

    def delete_subject(self, label: str) -> None:
        """Delete a subject."""
        self._session.delete(self._path(Node(label)))

    # ---------------------------------------------------------------- paths

    def _path(self, node: Node) -> str:
        path = _project_path(self.project)
        if node.subject:
            path += f"/subjects/{_part(node.subject)}"
        if node.experiment:
            path += f"/experiments/{_part(node.experiment)}"
        return path

    def _resource_path(self, node: Node, scan: str, resource: str) -> str:
        middle = f"/scans/{_part(scan)}" if scan else ""
        return f"{self._path(node)}{middle}/resources/{_part(resource)}"


class EmptyProject(Archive):
    """A project that does not exist yet, and so holds nothing: what a plan is made against before it is created."""

    def subjects(self) -> dict[str, str]:
        """None."""
        return {}

    def experiments(self) -> dict[str, Experiment]:
        """None."""
        return {}

    def node_holding(self, node: Node) -> Holding:
        """Nothing."""
        return Holding(node)


def _part(text: str) -> str:
    return quote(text, safe="")


_OWN_CHILDREN = frozenset({"resources/resource", "fields/field"})
"""What an experiment of ours holds beside its scans."""


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


def _batches(experiments: list[Experiment]) -> Iterator[list[Experiment]]:
    batch: list[Experiment] = []
    length = 0
    for experiment in experiments:
        if batch and (len(batch) == LISTED_AT_ONCE or length + len(experiment.id) + 1 > _LIST_LENGTH):
            yield batch
            batch, length = [], 0
        batch.append(experiment)
        length += len(experiment.id) + 1
    if batch:
        yield batch


_FILE_URI = re.compile(
    r"/data(?:/archive)?/(?:experiments/(?P<id>[^/]+)(?:/scans/(?P<scan>[^/]+))?|projects/[^/]+(?:/subjects/[^/]+)?)"
    r"/resources/[^/]+/files/(?P<name>.+)",
    re.DOTALL,
)


def _address(row: Mapping[str, object], nodes: Mapping[str, Node]) -> Address:
    """The address of a row of a files listing; what is neither session, scan nor node resource keeps its URI."""
    match = _FILE_URI.fullmatch(str(row["URI"]))
    if match is None or (match["id"] or "") not in nodes:
        identifier = next((key for key in nodes if f"/{key}/" in str(row["URI"])), next(iter(nodes)))
        return Address(nodes[identifier], "?", str(row["collection"]), str(row["URI"]))
    return Address(nodes[match["id"] or ""], unquote(match["scan"] or ""), str(row["collection"]), match["name"])


# ------------------------------------------------------------------ the session


class _Session:
    """A login that is renewed once when the server forgets it, and answers turned into errors."""

    def __init__(self, credentials: Credentials, *, connections: int = 32) -> None:
        self.credentials = credentials
        self._connections = connections
        self._lock = threading.Lock()
        self._xnat = _log_in(credentials, connections)

    def close(self) -> None:
        """Log out; a server that is gone needs no farewell."""
        with suppress(requests.RequestException, xnat.exceptions.XNATError):
            self._xnat.disconnect()

    def get(self, path: str, **query: str) -> requests.Response:
        return self._read(path, query)

    @stamina.retry(on=Unavailable, attempts=5, wait_initial=0.5, wait_max=30.0, timeout=600.0)
    def _read(self, path: str, query: dict[str, str]) -> requests.Response:
        return self._request("GET", path, query)

    def rows(self, path: str, **query: str) -> list[dict[str, object]]:
        """The rows of a listing."""
        answer = self.get(path, format="json", **query)
        try:
            return cast("list[dict[str, object]]", _json(answer)["ResultSet"]["Result"])  # type: ignore[index]
        except (KeyError, TypeError) as error:
            raise Unavailable("the server's listing has an unknown form", method="GET", path=path) from error

    def put(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        data: Body | None = None,
        document: bytes | None = None,
        timeout: tuple[float, float] = TIMEOUT,
        refusal: str = "",
    ) -> requests.Response:
        kind = "text/xml" if document is not None else "application/octet-stream"
        body = document if document is not None else data
        headers = {"Content-Type": kind} if body is not None else None
        return self._request("PUT", path, query or {}, data=body, headers=headers, timeout=timeout, refusal=refusal)

    def post(
        self, path: str, query: Mapping[str, str], *, data: Stream | None = None, content_type: str = ""
    ) -> requests.Response:
        headers = {"Content-Type": content_type} if content_type else None
        return self._request("POST", path, query, data=data, headers=headers, timeout=LONG_TIMEOUT)

    def delete(self, path: str) -> None:
        self._request("DELETE", path, {"removeFiles": "true"}, timeout=LONG_TIMEOUT)

    @stamina.retry(on=Unavailable, attempts=5, wait_initial=0.5, wait_max=30.0, timeout=None)
    def download(self, path: str, target: IO[bytes]) -> None:
        """A body, written to a file as it comes."""
        target.seek(0)
        target.truncate()
        client = self._xnat
        with _foreign_errors("GET", path):
            url = self.credentials.server.rstrip("/") + path
            with client.interface.get(url, stream=True, timeout=LONG_TIMEOUT) as answer:
                if answer.status_code == 401:
                    self._renew(client)
                    raise Unavailable("the login had expired, and was renewed", method="GET", path=path, status=401)
                _raise_for(answer, "GET", path, "")
                for piece in answer.iter_content(1 << 20):
                    target.write(piece)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        data: Stream | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: tuple[float, float] = TIMEOUT,
        refusal: str = "",
    ) -> requests.Response:
        """One request; another one, if the server had forgotten the login, and so has not acted."""
        client = self._xnat
        with _foreign_errors(method, path):
            answer = _ask(client, method, path, query, data, headers, timeout)
            if answer.status_code == 401:
                self._renew(client)
                answer = _ask(self._xnat, method, path, query, data, headers, timeout)
        _raise_for(answer, method, path, refusal)
        return answer

    def _renew(self, expired: object) -> None:
        """Log in again; one thread does, and the others find it done. A login that fails is an error."""
        with self._lock:
            if self._xnat is expired:
                self._xnat = _log_in(self.credentials, self._connections)


def _ask(
    client: xnat.session.XNATSession,
    method: str,
    path: str,
    query: Mapping[str, str],
    data: Stream | bytes | None,
    headers: Mapping[str, str] | None,
    timeout: tuple[float, float],
) -> requests.Response:
    """A request by xnatpy's own verbs."""
    options = {"query": dict(query), "timeout": timeout, "headers": headers}
    if method in ("GET", "DELETE"):
        ask = client.get if method == "GET" else client.delete
        return cast("requests.Response", ask(path, **options))
    ask = client.put if method == "PUT" else client.post
    return cast("requests.Response", ask(path, data=data, **options))


@contextmanager
def _foreign_errors(method: str, path: str) -> Iterator[None]:
    """What `requests` and xnatpy raise, in our words."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise ConfigError(f"the server's certificate is not trusted: {error}") from error
    except xnat.exceptions.XNATSSLError as error:
        raise ConfigError("the server's certificate is not trusted, or it does not speak https") from error
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise Unavailable(_reason(error), method=method, path=path) from error
    except requests.RequestException as error:
        raise Rejected(f"the request could not be made: {type(error).__name__}", method=method, path=path) from error


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    return "the connection to the server failed or was cut"


def _raise_for(answer: requests.Response, method: str, path: str, refusal: str) -> None:
    """The one table of what a status means."""
    status = answer.status_code
    if status < 400:
        if answer.headers.get("Content-Type", "").startswith("text/html") and _is_page(answer):
            raise Rejected("the server answered with a web page, not as XNAT does", method=method, path=path)
        return
    message = _server_words(answer)
    if status in (401, 403):
        words = message or ("the login is not accepted" if status == 401 else "you do not have the right to do this")
        raise AccessDenied(words, method=method, path=path, status=status)
    if status == 500 and refusal:
        raise Rejected(f"{refusal}; {message}" if message else refusal, method=method, path=path, status=status)
    if status in (408, 425, 429) or status >= 500:
        raise Unavailable(message or "the server failed", method=method, path=path, status=status)
    raise Rejected(message or "the server refused this", method=method, path=path, status=status)


def _is_page(answer: requests.Response) -> bool:
    return answer.text.lstrip()[:9].lower().startswith(_HTML)


def _server_words(answer: requests.Response) -> str:
    """What an error page says in its heading, in plain characters."""
    if "html" not in answer.headers.get("Content-Type", ""):
        return ""
    found = re.search(r"<h3>(.*?)</h3>", answer.text, re.DOTALL)
    words = re.sub(r"<[^>]*>|\s+|[^\x20-\x7e]", " ", found[1]).strip() if found else ""
    return re.sub(r" +", " ", words)[:300]


def _json(answer: requests.Response) -> dict[str, object]:
    try:
        content = answer.json()
    except ValueError as error:
        raise Unavailable("the server's answer is not JSON", method="GET", path=urlsplit(answer.url).path) from error
    if not isinstance(content, dict):
        raise Unavailable("the server's answer is no object", method="GET", path=urlsplit(answer.url).path)
    return content


# ------------------------------------------------------------------ logging in


def open_archive(credentials: Credentials, project: str, *, create: bool = False, pretend: bool = False) -> Archive:
    """Log in, and find the project.

    Args:
        credentials: where, and as whom.
        project: the project's ID.
        create: create the project, private, if it does not exist.
        pretend: look upon a project that does not exist as an empty one.

    Raises:
        ConfigError: the address is no URL, or its certificate is not trusted.
        Unavailable: nothing answers there, or what answers is no XNAT.
        Rejected: there is no such project, or it cannot be created.
        AccessDenied: the login fails.
    """
    _check_is_xnat(credentials)
    session = _Session(credentials)
    try:
        found = _find_project(session, project)
        if not found and pretend:
            return EmptyProject(session, project)
        if not found and create:
            session.put(_project_path(project), {"accessibility": "private"}, refusal="XNAT refused this project")
        elif not found:
            advice = "check its ID, or create it with --create-project"
            raise Rejected(f"there is no project {project}, or you may not see it: {advice}", status=404)
        return Archive(session, found or project)
    except ArchiveError:
        session.close()
        raise


def _project_path(project: str) -> str:
    return f"/data/projects/{_part(project)}"


def _find_project(session: _Session, project: str) -> str:
    """The project's ID, which may have been named by an alias; "" if there is none that the user may see."""
    try:
        answer = session.get(_project_path(project), format="json")
    except Rejected as error:
        if error.status != 404:
            raise
        return ""
    item = cast("_Item", _json(answer)["items"][0])  # type: ignore[index]
    return str(item["data_fields"]["ID"])


def _check_is_xnat(credentials: Credentials) -> None:
    """Look before the password goes out: every XNAT tells its version to everybody."""
    server = credentials.server
    if urlsplit(server).scheme not in ("http", "https") or not urlsplit(server).hostname:
        raise ConfigError(f"{server!r} is no server's address: it must begin with https:// or http://")
    path = "/xapi/siteConfig/buildInfo"
    with _foreign_errors("GET", path):
        answer = requests.get(server.rstrip("/") + path, timeout=TIMEOUT, verify=credentials.verify, auth=_nobody)
    if answer.status_code in (502, 503, 504):
        raise Unavailable("the server is not ready", method="GET", path=path, status=answer.status_code)
    try:
        version = answer.json()["version"]
    except (ValueError, KeyError, TypeError):
        version = ""
    if answer.status_code != 200 or not version:
        message = f"{server} does not answer as an XNAT server does: check the address"
        raise Unavailable(message, method="GET", path=path, status=answer.status_code)


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No login: without being told so, `requests` would send the one that netrc has for the host."""
    return request


_SILENT = logging.getLogger(f"{__package__}.client")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
logging.getLogger("stamina").addHandler(logging.NullHandler())  # retries are news for those who ask for them


def _log_in(credentials: Credentials, connections: int) -> xnat.session.XNATSession:
    """A connection of xnatpy's: without its object model, which takes dozens of requests."""
    try:
        with _foreign_errors("PUT", "/data/services/auth"):
            session = xnat.connect(
                credentials.server,
                user=credentials.user,
                password=credentials.password,
                verify=credentials.verify,
                logger=_SILENT,
                no_parse_model=True,
            )
    except xnat.exceptions.XNATLoginFailedError as error:
        raise AccessDenied(f"the login of {credentials.user} failed: check user and password") from error
    except xnat.exceptions.XNATExpiredCredentialsError as error:
        raise AccessDenied(f"the password of {credentials.user} has expired: renew it on the server") from error
    except xnat.exceptions.XNATError as error:
        raise Unavailable("the server does not answer a login as XNAT does") from error
    session.skip_response_check = True
    session.keepalive = False  # its thread dies at the first slow answer; an expired login is renewed instead
    adapter = requests.adapters.HTTPAdapter(pool_connections=connections, pool_maxsize=connections)
    session.interface.mount("http://", adapter)
    session.interface.mount("https://", adapter)
    return session
