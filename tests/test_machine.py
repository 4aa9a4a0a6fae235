"""A machine that pushes, edits, breaks, removes and undoes in any order, and never loses nor touches what it must not.

Beside the real archive runs a model: what is stored at each address, by its digest, and what is not ours. Each rule
says what may change (`bounded`: at every address is what was there before, or one of a few other things), and what must
have where nothing stood in the way. `make machine` runs many more examples, and other ones each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import requests
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.faults import WIRE_FAULTS, Fault, wire
from xnat_bids_push.archive import Archive, open_archive
from xnat_bids_push.client import PATIENT, Credentials
from xnat_bids_push.dataset import read
from xnat_bids_push.errors import ArchiveError
from xnat_bids_push.keeping import Keeper
from xnat_bids_push.mapping import is_ours, path_of
from xnat_bids_push.model import Address, Existing, Node, Origin, State
from xnat_bids_push.names import is_plain
from xnat_bids_push.policies import Policy, is_stage, stage_of
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import left_out, placements, plan, push, survey, verify
from xnat_bids_push.receipt import open_receipt
from xnat_bids_push.removing import Removal, plan_removal, remove
from xnat_bids_push.report import Report
from xnat_bids_push.server import LocalServer
from xnat_bids_push.table import default_table
from xnat_bids_push.undoing import plan_undoing
from xnat_bids_push.uris import file_uri, node_uri

TABLE = default_table()
LARGE = 50
"""From this size on (bytes) a file travels by itself here."""

DESCRIPTION = "dataset_description.json"
SUBJECTS = ("sub-01", "sub-x+y")
SESSIONS = ("", "ses-a")
AT_ROOT = (DESCRIPTION, "README", "participants.tsv", "code/a", "code/a.b", "code/\u00fc x")
IN_SUBJECT = ("{subject}_sessions.tsv",)
IN_SESSION = (
    *("anat/{stem}_T1w.nii.gz", "anat/{stem}_T1w.json", "anat/{stem}_T1w.bval", "anat/{stem}_T2w.nii.gz"),
    *("func/{stem}_task-rest_bold.nii.gz", "func/{stem}_task-rest_events.tsv", "eeg/{stem}_task-rest_eeg.edf"),
    "{stem}_scans.tsv",
)
CONTENTS = (b"", b"a", b"b", b"{}", b"large " * 20, b"LARGE " * 20)

FAULTS = tuple(one for one in WIRE_FAULTS if one not in (Fault.STALL, Fault.STALL_AFTER, Fault.TRICKLE))
"""All that takes no time."""

POLICIES = st.builds(Policy, st.sampled_from(Existing), st.booleans())
Digests = Mapping[Address, str]


def paths() -> Iterator[str]:
    """All that a dataset can have here."""
    yield from AT_ROOT
    for subject in SUBJECTS:
        yield from (f"{subject}/{name.format(subject=subject)}" for name in IN_SUBJECT)
        for session in SESSIONS:
            folder = "/".join(filter(None, (subject, session)))
            yield from (f"{folder}/{name.format(stem=folder.replace('/', '_'))}" for name in IN_SESSION)


def described(content: bytes) -> bytes:
    return b'{"Name": "%s", "BIDSVersion": "1.10.0"}' % content[:1]


def digest_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


# ------------------------------------------------------------------ the model


@dataclass(frozen=True, slots=True)
class Seen:
    """What a project holds: files by their digests; scans, experiments and subjects by their labels."""

    files: Digests = field(default_factory=dict)
    scans: frozenset[tuple[Node, str]] = frozenset()
    experiments: frozenset[Node] = frozenset()
    subjects: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the dataset has at each address, by its digest; and which of them the push makes itself."""

    files: Digests
    made: frozenset[Address]
    nodes: frozenset[Node]

    def conflicts(self, there: Digests) -> set[Address]:
        """Files of the dataset that the archive holds otherwise."""
        return {one for one, digest in self.files.items() if one not in self.made and there.get(one, digest) != digest}

    def extras(self, there: Digests) -> set[Address]:
        """What can be ours, at nodes that the dataset has, and that it does not have."""
        return {one for one in there if one.node in self.nodes and one not in self.files and is_ours(one, TABLE)}


@dataclass(frozen=True, slots=True)
class Pushed:
    """A push that ended by itself: its receipt, and the archive before and after."""

    receipt: Path
    before: Seen
    after: Seen


def bounded(
    before: Digests,
    after: Digests,
    *,
    may_go: Collection[Address] = (),
    may_become: Mapping[Address, str] | None = None,
    damaged: bool = False,
) -> None:
    """At each address is what was there, or what may have come there, or nothing where it may have gone."""
    for address in before.keys() | after.keys():
        allowed = {before.get(address)} | ({None} if address in may_go else set())
        if may_become and address in may_become:
            allowed |= {may_become[address]} | ({after.get(address)} if damaged else set())
        assert after.get(address) in allowed, f"{address}: {before.get(address)} became {after.get(address)}"


def stuck(going: Set[Address], there: Collection[Address]) -> set[Address]:
    """What cannot be deleted alone: XNAT takes along what begins with its name, or misses odd names."""
    return {
        one
        for one in going
        for other in there
        if other not in going and _home(other) == _home(one)
        if other.name.startswith(one.name) or not is_plain(one.name)
    }


def _home(address: Address) -> tuple[Node, str, str]:
    return address.node, address.scan, address.resource


# ------------------------------------------------------------------ the machine


class Machine(RuleBasedStateMachine):
    """One dataset and one project; whoever acts looks at the whole project before and after."""

    server: ClassVar[LocalServer]
    folders: ClassVar[pytest.TempPathFactory]
    numbers: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.folder = self.folders.mktemp("machine")
        self.project = f"MACHINE{next(self.numbers)}"  # the folder's number is given again, once it is gone
        self.root = self.folder / "dataset"
        self.disk: dict[str, bytes] = {}
        self.seen = Seen()
        self.theirs: dict[Address, str] = {}
        self.their_scans: set[tuple[Node, str]] = set()
        self.their_experiments: set[Node] = set()
        self.pushes: list[Pushed] = []
        self.archive = self.connected(self.server.url, create=True)

    def connected(self, url: str, *, create: bool = False) -> Archive:
        login = Credentials(url, self.server.user, self.server.password, patience=PATIENT)
        return open_archive(login, self.project, create=create)

    def teardown(self) -> None:
        """Whatever has happened: the next push that may do all puts all right, and all comes back."""
        try:
            self.converge()
        finally:
            self.archive.close()
            shutil.rmtree(self.folder)

    def converge(self) -> None:
        self.push(Policy(Existing.REPLACE, delete=True))

    # -------------------------------------------------- the dataset

    @initialize(first=st.sets(st.sampled_from(sorted(paths())), max_size=8), content=st.sampled_from(CONTENTS))
    def begin(self, first: set[str], content: bytes) -> None:
        self.write(DESCRIPTION, described(content))
        for path in {"sub-01/anat/sub-01_T1w.nii.gz", *first} - {DESCRIPTION}:
            self.write(path, content)

    def write(self, path: str, content: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)
        self.disk[path] = content

    def unlink(self, path: str) -> bytes:
        (self.root / path).unlink()
        for folder in (self.root / path).parents:
            if folder == self.root or any(folder.iterdir()):
                break
            folder.rmdir()
        return self.disk.pop(path)

    @rule(path=st.sampled_from(sorted(set(paths()) - {DESCRIPTION})), content=st.sampled_from(CONTENTS))
    def add_a_file(self, path: str, content: bytes) -> None:
        self.write(path, content)

    @rule(data=st.data(), content=st.sampled_from(CONTENTS))
    def edit_a_file(self, data: st.DataObject, content: bytes) -> None:
        path = data.draw(st.sampled_from(sorted(self.disk)))
        self.write(path, content if path != DESCRIPTION else described(content))

    @precondition(lambda self: len(self.disk) > 2)
    @rule(data=st.data())
    def delete_a_file(self, data: st.DataObject) -> None:
        kept = [path for path in self.disk if path.startswith("sub-")][:1]
        self.unlink(data.draw(st.sampled_from(sorted(self.disk.keys() - {DESCRIPTION, *kept}))))

    @rule(old=st.sampled_from(SUBJECTS), new=st.sampled_from(["sub-02", "sub-01"]))
    def rename_a_participant(self, old: str, new: str) -> None:
        self.rename(old, new)

    @rule(
        subject=st.sampled_from(SUBJECTS),
        old=st.sampled_from(["ses-a", "ses-b"]),
        new=st.sampled_from(["ses-b", "ses-c"]),
    )
    def rename_a_session(self, subject: str, old: str, new: str) -> None:
        self.rename(f"{subject}/{old}", f"{subject}/{new}")

    def rename(self, old: str, new: str) -> None:
        if old == new or any(path.startswith(f"{new}/") for path in self.disk):
            return
        for path in [path for path in self.disk if path.startswith(f"{old}/")]:
            stem, target = (one.replace("/", "_") for one in (old, new))
            self.write(path.replace(f"{old}/", f"{new}/").replace(stem, target), self.unlink(path))

    # -------------------------------------------------- looking

    def wanted(self) -> Wanted:
        """What the dataset has, at the addresses of the table; that these are right is the business of other tests."""
        parcels = [parcel for _, chosen in placements(read(self.root, validate=False)) for parcel in chosen.parcels]
        files = {one.address: one for parcel in parcels for one in parcel.files}
        assert {one.file.path for one in files.values() if one.origin is Origin.DATASET} == self.disk.keys()
        contents = {
            address: one.file.content if isinstance(one.file.content, bytes) else Path(one.file.content).read_bytes()
            for address, one in files.items()
        }
        made = frozenset(address for address, one in files.items() if one.origin is not Origin.DATASET)
        nodes = frozenset(parcel.node for parcel in parcels)
        return Wanted({address: digest_of(content) for address, content in contents.items()}, made, nodes)

    def look(self) -> Seen:
        """All that the archive holds; nothing of others is ever missing, nor changed."""
        experiments, subjects = self.archive.experiments(), self.archive.subjects()
        holdings = [*self.archive.holdings(experiments.values()).values()]
        holdings += [self.archive.node_holding(node) for node in (Node(), *map(Node, subjects))]
        nodes = frozenset(Node(one.subject, one.label) for one in experiments.values())
        files = {
            address: stored.md5 or digest_of(self.content(address))
            for holding in holdings
            for address, stored in holding.files.items()
        }
        scans = frozenset((node, scan) for node in nodes for scan in self.archive.scans(node))
        seen = Seen(files, scans, nodes, frozenset(subjects))
        assert self.theirs.items() <= files.items()
        assert self.their_scans <= scans
        assert self.their_experiments <= nodes
        return seen

    def content(self, address: Address) -> bytes:
        login = (self.server.user, self.server.password)
        answer = requests.get(f"{self.server.url}{file_uri(address, self.project)}", auth=login, timeout=30)
        answer.raise_for_status()
        return answer.content

    def obstacles(self, before: Seen, policy: Policy) -> set[Address]:
        """What a push can do nothing about, so that it must not say that all is well."""
        wanted = self.wanted()
        extras = wanted.extras(before.files)
        elsewhere = {one.experiment for one in before.experiments if one not in wanted.nodes}
        found = {one for one in wanted.files if one.node.experiment in elsewhere}
        found |= wanted.conflicts(before.files) if policy.existing is Existing.FAIL else set()
        if policy.delete:
            return found | stuck(extras, before.files.keys() | wanted.files.keys())
        if policy.existing is Existing.REPLACE:
            extras = {one for one in extras if not is_stage(one, TABLE)}
        return found | extras

    # -------------------------------------------------- pushing

    @rule(policy=POLICIES)
    def push(self, policy: Policy) -> None:
        before, wanted = self.seen, self.wanted()
        report = self.pushed(self.archive, policy)
        self.seen = self.look()
        self.pushes.append(Pushed(self.last_receipt(), before, self.seen))
        self.is_modest(before, wanted, policy)
        assert report.ok == (not self.obstacles(before, policy)), _told(report)
        if report.ok:
            self.is_done(wanted, policy)
            assert not any(one.steps for one in plan(read(self.root), self.archive, policy=policy))

    @rule(policy=POLICIES, at=st.integers(0, 45), fault=st.sampled_from(FAULTS))
    def push_under_a_fault(self, policy: Policy, at: int, fault: Fault) -> None:
        before, wanted = self.seen, self.wanted()
        report = None
        with contextlib.suppress(ArchiveError), contextlib.ExitStack() as stack:
            line = stack.enter_context(wire(self.server.url, at=at, fault=fault))
            archive = stack.enter_context(contextlib.closing(self.connected(line.url)))
            report = self.pushed(archive, policy)
        self.seen = self.look()
        self.is_modest(before, wanted, policy, damaged=fault in (Fault.BODY_SHORT, Fault.BODY_BENT))
        if report is not None and report.ok:
            self.is_done(wanted, policy)

    @rule(policy=POLICIES, after=st.integers(0, 5))
    def push_and_interrupt(self, policy: Policy, after: int) -> None:
        before, wanted = self.seen, self.wanted()
        left = iter(range(after))

        def interrupt(_: object) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            push(read(self.root), self.archive, policy=policy, on_outcome=interrupt, pause=0, large=LARGE, jobs=2)
        self.seen = self.look()
        self.is_modest(before, wanted, policy)

    def pushed(self, archive: Archive, policy: Policy) -> Report:
        dataset = read(self.root)
        found = survey(dataset)
        with Keeper(dataset, archive, folder=self.folder / "receipts") as keeper:
            report = push(
                dataset, archive, found=found, policy=policy, on_outcome=keeper.outcome, pause=0, large=LARGE, jobs=2
            )
            keeper.finish(report, left_out(dataset, found))
        assert keeper.path is not None
        keeper.path.replace(self.folder / "last.json")
        return report

    def last_receipt(self) -> Path:
        return (self.folder / "last.json").replace(self.folder / f"receipt-{len(self.pushes)}.json")

    def is_modest(self, before: Seen, wanted: Wanted, policy: Policy, *, damaged: bool = False) -> None:
        """Nothing went, and nothing was overwritten, but what the policy gives leave for."""
        conflicts = wanted.conflicts(before.files)
        become = {one: digest for one, digest in wanted.files.items() if one not in conflicts}
        unproven = {one.node for one in conflicts} if policy.existing is Existing.FAIL else set()
        gone = {one for one in wanted.extras(before.files) if policy.delete and one.node not in unproven}
        if policy.existing is Existing.REPLACE:
            become = dict(wanted.files) | {stage_of(one, TABLE): wanted.files[one] for one in conflicts}
            gone |= {one for one in before.files if is_stage(one, TABLE)}
        bounded(before.files, self.seen.files, may_go=gone, may_become=become, damaged=damaged)

    def is_done(self, wanted: Wanted, policy: Policy) -> None:
        """A push that says that all is well is right."""
        conflicts = wanted.conflicts(self.seen.files)
        assert not conflicts or policy.existing is Existing.SKIP
        assert all(self.seen.files.get(one) == digest for one, digest in wanted.files.items() if one not in conflicts)
        assert wanted.extras(self.seen.files) == set()

    # -------------------------------------------------- verifying, pulling, removing

    @rule()
    def verify_and_pull(self) -> None:
        self.verify()
        self.pull()

    def verify(self) -> None:
        wanted = self.wanted()
        report = verify(read(self.root), self.archive)
        assert self.look() == self.seen
        lacking = any(self.seen.files.get(one) != digest for one, digest in wanted.files.items())
        assert report.ok == (not lacking and not wanted.extras(self.seen.files))

    def pull(self) -> None:
        out = self.folder / "out"
        report = pull(self.archive, out)
        came = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        shutil.rmtree(out, ignore_errors=True)
        assert self.look() == self.seen
        homes: dict[str, set[str]] = {}
        for address, digest in self.seen.files.items():
            if is_ours(address, TABLE) and (path := path_of(address, TABLE)):
                homes.setdefault(path, set()).add(digest)
        assert all(digest_of(content) in homes[path] for path, content in came.items())
        if report.ok:
            assert came.keys() == homes.keys()

    @rule()
    def remove(self) -> None:
        before, wanted = self.seen, self.wanted()
        ours = {one for one, digest in wanted.files.items() if before.files.get(one) == digest}
        report = self.removed(list(plan_removal(read(self.root), self.archive)))
        bounded(before.files, self.seen.files, may_go=ours)
        rest = {_home(one) for one in self.seen.files if one not in ours}
        assert all(_home(one) in rest for one in ours & self.seen.files.keys())
        if report.ok:
            assert not ours & self.seen.files.keys()

    @precondition(lambda self: self.pushes)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        """The latest one first: that one is the one of which all is known."""
        one = self.pushes[-1 - data.draw(st.integers(0, len(self.pushes) - 1))]
        before = self.seen
        new = {at: digest for at, digest in one.after.files.items() if at not in one.before.files}
        ours = {at for at, digest in new.items() if before.files.get(at) == digest}
        report = self.removed(list(plan_undoing(open_receipt(one.receipt), self.archive)))
        bounded(before.files, self.seen.files, may_go=ours)
        assert ours & self.seen.files.keys() <= stuck(ours, before.files)
        if before == one.after and report.ok and one.before.files.items() <= one.after.files.items():
            assert self.seen == one.before

    def removed(self, removals: list[Removal]) -> Report:
        report = remove(removals, self.archive)
        self.seen = self.look()
        return report

    # -------------------------------------------------- others

    @precondition(lambda self: self.seen.experiments)
    @rule(data=st.data(), scan=st.sampled_from(["7", "theirs"]))
    def others_add_a_scan(self, data: st.DataObject, scan: str) -> None:
        node = data.draw(st.sampled_from(sorted(self.seen.experiments)))
        self.send("PUT", f"{node_uri(node, self.project)}/scans/{scan}", xsiType="xnat:mrScanData")
        self.their_scans.add((node, scan))
        self.others_did(self.seen.files)

    @rule(
        label=st.sampled_from(["theirs", "sub-01_extra", "sub-02_MR"]),
        subject=st.sampled_from([*SUBJECTS, "sub-02", "theirs"]),
    )
    def others_add_a_session(self, label: str, subject: str) -> None:
        if any(one.experiment == label for one in self.seen.experiments):
            return  # XNAT would move that one
        node = Node(subject.replace("+", "-"), label)
        if label.startswith(f"{node.subject}_"):
            return  # that would be a session of ours, if an empty one
        self.send("PUT", node_uri(node, self.project), xsiType="xnat:mrSessionData")
        self.their_experiments.add(node)
        self.others_did(self.seen.files)

    @precondition(lambda self: self.seen.files)
    @rule(
        data=st.data(), resource=st.sampled_from(["", "SNAPSHOTS", "NOTES"]), end=st.sampled_from([".note", "~", "x"])
    )
    def others_add_a_file(self, data: st.DataObject, resource: str, end: str) -> None:
        """Beside one of ours, under a name that begins with its name; in the same resource, or in one of their own."""
        beside = data.draw(st.sampled_from(sorted(self.seen.files)))
        theirs = beside._replace(resource=resource or beside.resource, name=f"{beside.name}{end}")
        if theirs in self.seen.files:
            return
        self.send("PUT", file_uri(theirs, self.project), b"theirs", inbody="true")
        if not is_ours(theirs, TABLE):
            self.theirs[theirs] = digest_of(b"theirs")
        self.others_did({**self.seen.files, theirs: digest_of(b"theirs")})

    @precondition(lambda self: self.seen.files)
    @rule(data=st.data(), content=st.sampled_from(CONTENTS[1:]))
    def others_change_a_file(self, data: st.DataObject, content: bytes) -> None:
        address = data.draw(st.sampled_from(sorted(self.seen.files)))
        self.send("PUT", file_uri(address, self.project), content, inbody="true", overwrite="true")
        if address in self.theirs:
            self.theirs[address] = digest_of(content)
        self.others_did({**self.seen.files, address: digest_of(content)})

    @precondition(lambda self: self.seen.files.keys() - self.theirs)
    @rule(data=st.data(), kept=st.booleans())
    def others_delete_a_file(self, data: st.DataObject, kept: bool) -> None:
        """With all files whose names begin with its name, as XNAT does; its content may be kept, and in no listing."""
        address = data.draw(st.sampled_from(sorted(self.seen.files.keys() - self.theirs)))
        self.send("DELETE", file_uri(address, self.project), removeFiles="false" if kept else "true")
        gone = {one for one in self.seen.files if _home(one) == _home(address) and one.name.startswith(address.name)}
        self.theirs = {one: digest for one, digest in self.theirs.items() if one not in gone}
        self.others_did({one: digest for one, digest in self.seen.files.items() if one not in gone})

    def others_did(self, files: Digests) -> None:
        self.seen = self.look()
        assert self.seen.files == files

    def send(self, method: str, path: str, body: bytes = b"", **query: str) -> None:
        login = (self.server.user, self.server.password)
        url = f"{self.server.url}{path}"
        requests.request(method, url, params=query, data=body, auth=login, timeout=30).raise_for_status()


def _told(report: Report) -> list[str]:
    files = (one for outcome in report.failed for one in outcome.findings if one.state is not State.SAME)
    return [*(one.failure for one in report.failed), *(f"{one.state} {one.address} {one.reason}" for one in files)]


def long_run() -> int:
    """How many examples `make machine` asks for; 0 in the usual tests."""
    return int(os.environ.get("MACHINE_EXAMPLES", "0"))


def test_whatever_happens_nothing_is_lost_and_nothing_of_others_is_touched(
    server: LocalServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Here(Machine):
        pass

    Here.server, Here.folders = server, tmp_path_factory
    number = long_run()
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=number or 8,
            stateful_step_count=30 if number else 12,
            derandomize=not number,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=(Phase.reuse, Phase.generate, *([Phase.shrink] if number else [])),
        ),
    )
