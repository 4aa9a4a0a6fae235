"""Every verb under every fault: one run that suffers, one plain run after it, and what must be true then.

A case is the number of a request and what happens to it. `run_case` gives what is wrong at its end, which should be
nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
import stamina

from test_data.generate import File, Folder, Link, write
from tests.faults import WIRE_FAULTS, Fault, Wire, wire
from xnat_bids_push.archive import Archive, open_archive
from xnat_bids_push.client import PATIENT, Credentials, Patience
from xnat_bids_push.dataset import Dataset, Selection, read
from xnat_bids_push.errors import AccessDenied, ArchiveError
from xnat_bids_push.model import Node, NodePlan, Outcome, Validation
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import UNGUARDED, plan, push, survey
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.report import Report
from xnat_bids_push.server import LocalServer
from xnat_bids_push.serving import problems

PROJECT = "P"
LARGE = 3000
"""From this size on (bytes) a file travels by itself here."""

HURRY = 2.0
"""Seconds that a stalled answer is waited for."""

VERBS = ("push", "pull", "remove")

_EARLIER = {
    "dataset_description.json": json.dumps({"Name": "mixed", "BIDSVersion": "1.10.0"}),
    "participants.tsv": "participant_id\tage\tsex\nsub-01\t30\tF\nsub-02\t40\tM\nsub-03\t50\tF\n",
    "sub-01/anat/sub-01_T1w.nii.gz": "the first image",
    "sub-01/anat/sub-01_T1w.json": json.dumps({"RepetitionTime": 2.0, "MagneticFieldStrength": 3}),
}
_LATER = {
    "README": "mixed",
    "sub-01/func/sub-01_task-rest_bold.nii.gz": "large " * 1000,
    "sub-01/func/sub-01_task-rest_bold.json": json.dumps({"RepetitionTime": 1.5, "EchoTime": 0.03}),
    "sub-01/func/sub-01_task-rest_events.tsv": "onset\tduration\n",
    "sub-01/sub-01_scans.tsv": "filename\nfunc/sub-01_task-rest_bold.nii.gz\n",
    "sub-02/sub-02_sessions.tsv": "session_id\nses-a\nses-b\n",
    "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz": "large, too " * 500,
    "sub-02/ses-a/anat/sub-02_ses-a_T1w.json": "",
    "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz": "another",
    "sub-03/eeg/sub-03_task-rest_eeg.edf": "EDF",
    "sub-03/eeg/sub-03_task-rest_eeg.json": json.dumps({"SamplingFrequency": 500}),
}
_ODD: dict[str, File | Link | Folder] = {
    "code/run.sh": File(b"#!/bin/sh\n", 0o755),
    "code/link": Link("run.sh"),
    "code/empty": Folder(),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One request of one verb, and what happens to it."""

    verb: str
    at: int
    fault: Fault
    request: str

    def __str__(self) -> str:
        return f"{self.verb} {self.at:02d} {self.fault.name} {self.request}"


@dataclass(slots=True)
class World:
    """What all cases begin with, in folders below one.

    Args:
        project: what is stored in the end, when nothing goes wrong.
    """

    folder: Path
    project: Inventory = field(default_factory=dict)

    @property
    def dataset(self) -> Path:
        """The whole dataset."""
        return self.folder / "dataset"

    def archive(self, verb: str) -> Path:
        """The archive as a verb finds it."""
        return self.folder / ("begun" if verb == "push" else "full")


Inventory = dict[str, list[tuple[str, ...]]]


# ------------------------------------------------------------------ the world


def make_world(folder: Path) -> World:
    """Write the dataset, and the archives that hold a part of it and all of it."""
    world = World(folder)
    write(world.dataset, [(path, File(text.encode())) for path, text in (_EARLIER | _LATER).items()])
    write(world.dataset, _ODD.items())
    write(folder / "earlier", [(path, File(text.encode())) for path, text in _EARLIER.items()])
    with LocalServer(folder / "begun") as server, _direct(server, create=True) as archive:
        assert _push(read(folder / "earlier"), archive).ok
        _upload_as_somebody_else(server)
    shutil.copytree(folder / "begun", folder / "full", symlinks=True)
    with LocalServer(folder / "full") as server, _direct(server) as archive:
        report = _push(_read(world), archive)
        assert report.ok, report.failed
        world.project = inventory(archive)
    assert list(problems(folder / "full")) == []
    return world


def _read(world: World) -> Dataset:
    return read(world.dataset, selection=Selection(("all",), sourcedata=True))


def _push(dataset: Dataset, archive: Archive, on_outcome: Callable[[Outcome], None] | None = None) -> Report:
    """A push of files that are what they are called by their names only."""
    found = survey(dataset, Validation.OFF, guard=UNGUARDED)
    return push(dataset, archive, found=found, jobs=1, pause=0, large=LARGE, on_outcome=on_outcome)


def _plan(dataset: Dataset, archive: Archive, *, update_fields: bool = False) -> Iterator[NodePlan]:
    found = survey(dataset, Validation.OFF, guard=UNGUARDED)
    return plan(dataset, archive, found=found, update_fields=update_fields)


def _upload_as_somebody_else(server: LocalServer) -> None:
    """What is not ours: a picture at a scan of ours, and a session of another kind."""
    front = f"{server.url}/data/projects/{PROJECT}/subjects"
    auth = (server.user, server.password)
    snapshots = f"{front}/sub-01/experiments/sub-01_MR/scans/anat_T1w/resources/SNAPSHOTS/files/a.gif"
    theirs = f"{front}/theirs/experiments/theirs_1"
    for url, query in ((snapshots, {"inbody": "true"}), (theirs, {"xsiType": "xnat:mrSessionData"})):
        body = b"GIF" if "inbody" in query else None
        requests.put(url, params=query, data=body, auth=auth, timeout=60).raise_for_status()


@contextmanager
def _direct(
    server: LocalServer, *, url: str = "", create: bool = False, patience: Patience = PATIENT
) -> Iterator[Archive]:
    credentials = Credentials(url or server.url, server.user, server.password, patience=patience)
    with contextlib.closing(open_archive(credentials, PROJECT, create=create)) as archive:
        yield archive


def inventory(archive: Archive) -> Inventory:
    """All that a project holds, as the server's own listings tell it, by its names."""
    found: Inventory = {"subjects": sorted((label,) for label in archive.subjects())}
    experiments = archive.experiments()
    found["experiments"] = sorted((one.label, one.subject, one.xsi_type) for one in experiments.values())
    for one in experiments.values():
        node = Node(one.subject, one.label)
        found[f"{one.label} scans"] = sorted((scan,) for scan in archive.scans(node))
        found[one.label] = _listed(archive, f"/data/experiments/{one.id}/files", all="true")
    found["project"] = _listed(archive, f"/data/projects/{PROJECT}/files")
    for label in archive.subjects():
        found[label] = _listed(archive, f"/data/projects/{PROJECT}/subjects/{label}/files")
    return found


def _listed(archive: Archive, path: str, **query: str) -> list[tuple[str, ...]]:
    """The rows of a listing, without the numbers that the server gives."""
    rows = archive._session.rows(path, **query)
    return sorted((_place(row), str(row["Size"]), str(row["digest"])) for row in rows)


def _place(row: dict[str, object]) -> str:
    scan, _, rest = str(row["URI"]).partition("/resources/")
    return "/".join([scan.partition("/scans/")[2], str(row["collection"]), rest.partition("/files/")[2]])


# ------------------------------------------------------------------ a case


def all_cases(world: World, verb: str, scratch: Path) -> list[Case]:
    """Every request of a verb with every fault that makes a difference there; a run without any fault tells them."""
    with _scene(world, verb, scratch) as scene, wire(scene.server.url) as fine:
        _suffer(scene, fine)
    return [
        Case(verb, number, fault, str(exchange))
        for number, exchange in sorted(fine.exchanges.items())
        for fault in WIRE_FAULTS
        if exchange.suffers(fault)
    ]


def run_case(world: World, case: Case, scratch: Path) -> list[str]:
    """What is wrong after a run that suffers and a plain one after it; nothing, if all is well."""
    with _scene(world, case.verb, scratch) as scene:
        with wire(scene.server.url, at=case.at, fault=case.fault) as broken:
            _suffer(scene, broken, stalls=case.fault in (Fault.STALL, Fault.STALL_AFTER))
            wrong = [] if broken.struck else ["the fault did not happen"]
        wrong += _dishonest(scene, case)
        with _direct(scene.server) as archive:
            again = scene.act(archive)
            wrong += [f"again: {one.node}: {one.failure or 'not done'}" for one in again.failed if not _theirs(one)]
            wrong += _CHECKS[case.verb](scene, archive)
    wrong += [f"on the server's disk: {problem}" for problem in problems(scene.folder / "archive")]
    return wrong


def _theirs(outcome: Outcome) -> bool:
    """Whether all that is wrong is that a removal leaves what is not ours."""
    return all(part.endswith("is not the dataset's, and stays") for part in outcome.failure.split("; "))


@dataclass(slots=True)
class Scene:
    """An archive of its own, on which a verb acts twice.

    Args:
        report: that of the run that suffered; None if it ended by an error.
        error: that error.
        done: the nodes of which that run said that they were done.
    """

    world: World
    verb: str
    folder: Path
    server: LocalServer
    report: Report | None = None
    error: BaseException | None = None
    done: list[Node] = field(default_factory=list)

    def act(self, archive: Archive, on_outcome: Callable[[Outcome], None] | None = None) -> Report:
        """Do what the verb does."""
        match self.verb:
            case "push":
                return _push(_read(self.world), archive, on_outcome)
            case "pull":
                return pull(archive, self.folder / "out", on_outcome=on_outcome)
            case _:
                return remove(list(plan_removal(_read(self.world), archive)), archive, on_outcome=on_outcome)


@contextmanager
def _scene(world: World, verb: str, scratch: Path) -> Iterator[Scene]:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(world.archive(verb), scratch / "archive", symlinks=True)
    with LocalServer(scratch / "archive") as server:
        yield Scene(world, verb, scratch, server)


def _suffer(scene: Scene, broken: Wire, *, stalls: bool = False) -> None:
    """The run over the wire; its end is kept, whatever it is."""

    def note(outcome: Outcome) -> None:
        if outcome.done:
            scene.done.append(outcome.node)

    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(stamina.set_testing(True, attempts=2))
            patience = Patience(answer=HURRY, work=HURRY) if stalls else PATIENT
            archive = stack.enter_context(_direct(scene.server, url=broken.url, patience=patience))
            scene.report = scene.act(archive, note)
    except Exception as error:  # noqa: BLE001  # every kind is looked at
        scene.error = error


def _dishonest(scene: Scene, case: Case) -> Iterator[str]:
    """What the run that suffered said, and is not so."""
    error = scene.error
    if error is not None and not isinstance(error, ArchiveError):
        yield f"raised {type(error).__name__}: {error}"
    if isinstance(error, AccessDenied) and not _refuses_the_login(case):
        yield f"blames the user's rights: {error}"
    said = str(error) if scene.report is None else json.dumps([one.failure for one in scene.report.failed])
    if scene.server.password in said:
        yield "tells the password"
    if scene.report is not None and scene.report.denied:
        yield f"blames the user's rights: {said}"
    with _direct(scene.server) as archive:
        yield from _CLAIMS[case.verb](scene, archive)


def _refuses_the_login(case: Case) -> bool:
    """A 401 to the very login is what a wrong password is."""
    return case.fault is Fault.EXPIRED and case.request.endswith("/auth")


def _false_claims_of_push(scene: Scene, archive: Archive) -> Iterator[str]:
    settled = {one.node: one.settled for one in _plan(_read(scene.world), archive)}
    yield from (f"said done, and is not: {node}" for node in scene.done if not settled[node])
    if scene.report is not None and scene.report.ok and not all(settled.values()):
        yield "said that all is well, and it is not"


def _false_claims_of_pull(scene: Scene, archive: Archive) -> Iterator[str]:
    here, there = tree(scene.folder / "out"), tree(scene.world.dataset)
    yield from (f"another content: {path}" for path, entry in here.items() if not _may_become(entry, there.get(path)))
    if scene.report is not None and scene.report.ok and here != there:
        yield "said that all is well, and it is not"


def _may_become(entry: Entry, wanted: Entry | None) -> bool:
    """Whether something of an unfinished pull is right so far: links and bits of files come last."""
    return wanted is not None and (wanted[0] == "link" or entry[:2] == wanted[:2])


def _false_claims_of_remove(scene: Scene, archive: Archive) -> Iterator[str]:
    if scene.report is not None and all(map(_theirs, scene.report.failed)):
        yield from _wrong_after_remove(scene, archive)


def _wrong_after_push(scene: Scene, archive: Archive) -> Iterator[str]:
    there, wanted = inventory(archive), scene.world.project
    for name in sorted(there.keys() | wanted.keys()):
        more = set(there.get(name, [])) - set(wanted.get(name, []))
        less = set(wanted.get(name, [])) - set(there.get(name, []))
        if more or less or len(there.get(name, [])) != len(wanted.get(name, [])):
            yield f"{name}: too much {sorted(more)}, too little {sorted(less)}"
    with contextlib.suppress(ArchiveError):
        report = pull(archive, scene.folder / "back")
        if not report.ok or tree(scene.folder / "back") != tree(scene.world.dataset):
            yield "what comes back is not the dataset"
    fields = [one for one in _plan(_read(scene.world), archive, update_fields=True) if not one.settled]
    yield from (f"fields of {one.node} are not as they should be: {one.steps}" for one in fields)


def _wrong_after_pull(scene: Scene, archive: Archive) -> Iterator[str]:
    if tree(scene.folder / "out") != tree(scene.world.dataset):
        yield "what came is not the dataset"
    yield from (f"changed: {name}" for name, rows in inventory(archive).items() if rows != scene.world.project[name])


def _wrong_after_remove(scene: Scene, archive: Archive) -> Iterator[str]:
    left = {name: rows for name, rows in inventory(archive).items() if rows}
    if left != _LEFT:
        yield f"what is left is {left}"


_MD5 = hashlib.md5(b"GIF", usedforsecurity=False).hexdigest()
_LEFT: Inventory = {
    "subjects": [("sub-01",), ("theirs",)],
    "experiments": [("sub-01_MR", "sub-01", "xnat:mrSessionData"), ("theirs_1", "theirs", "xnat:mrSessionData")],
    "sub-01_MR scans": [("anat_T1w",)],
    "sub-01_MR": [("anat_T1w/SNAPSHOTS/a.gif", "3", _MD5)],
}

_Look = Callable[[Scene, Archive], Iterator[str]]
_CLAIMS: dict[str, _Look] = {
    "push": _false_claims_of_push,
    "pull": _false_claims_of_pull,
    "remove": _false_claims_of_remove,
}
_CHECKS: dict[str, _Look] = {
    "push": _wrong_after_push,
    "pull": _wrong_after_pull,
    "remove": _wrong_after_remove,
}


Entry = tuple[str, bytes | str, bool]


def tree(root: Path) -> dict[str, Entry]:
    """What is below a folder: kind, content or target, and whether it can be executed."""
    found: dict[str, Entry] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()), False)
        elif path.is_dir():
            found[name] = ("folder", "", False)
        else:
            found[name] = ("file", path.read_bytes(), os.access(path, os.X_OK))
    return found
