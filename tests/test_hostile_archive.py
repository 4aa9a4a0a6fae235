"""An archive that means harm: whatever it lists and sends, only files of the dataset land, and in the output folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnat_bids_push.archive import Archive
from xnat_bids_push.errors import ConfigError, Rejected
from xnat_bids_push.ground import LEADS_OUT, Blocked, Ground
from xnat_bids_push.mapping import MANIFEST
from xnat_bids_push.model import Address, Experiment, Holding, Node, StoredFile
from xnat_bids_push.pulling import pull
from xnat_bids_push.report import Report
from xnat_bids_push.table import default_table

TABLE = default_table()
posix = pytest.mark.skipif(os.name == "nt", reason="Windows makes links only for some")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def entry(resource: str, name: str) -> str:
    return f"P/resources/{resource}/files/{name}"


@dataclass
class Hostile:
    """A project that holds files of its own only; what is sent is whatever `body` gives."""

    files: dict[str, bytes]
    marks: list[dict[str, object]] = field(default_factory=list)
    body: Callable[[], bytes] | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    on_download: Callable[[], None] = lambda: None
    server: str = "https://hostile.example.org"
    project: str = "P"

    def contents(self) -> dict[tuple[str, str], bytes]:
        found = {(TABLE.other, name): content for name, content in self.files.items()}
        if self.marks:
            found[TABLE.manifest, MANIFEST] = json.dumps({"marks": self.marks}).encode()
        return found

    def subjects(self) -> dict[str, str]:
        return {}

    def experiments(self) -> dict[str, Experiment]:
        return {}

    def holdings(self, experiments: object) -> dict[str, Holding]:
        return {}

    def node_holding(self, node: Node) -> Holding:
        addresses = {Address(node, "", *key): content for key, content in self.contents().items()}
        stored = {
            address: StoredFile(address, self.sizes.get(address.name, len(content)), md5(content))
            for address, content in addresses.items()
        }
        return Holding(node, "P", files=stored)

    def download_node(self, node: Node, target: IO[bytes], *, most: int) -> None:
        self.on_download()
        body = self.body() if self.body is not None else zipped(self.contents())
        if len(body) > most:
            raise Rejected("the server sends more than it lists")
        target.write(body)

    def pull(self, out: Path) -> Report:
        return pull(cast("Archive", self), out)


def zipped(contents: Mapping[tuple[str, str], bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content in contents.items():
            archive.writestr(entry(*key), content)
    return target.getvalue()


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# ------------------------------------------------------------------ names

BAD_NAMES = [
    "../evil",
    "a/../../evil",
    "/evil",
    "//evil",
    "=2E=2E/evil",
    ".git/hooks/pre-commit",
    "code/.git/config",
    ".GIT/config",
    ".git./config",
    ".g\u200bit/config",
    "git~1/config",
    ".datalad/config",
    ".bids2xnat-partial/x",
    ".BIDS2XNAT-partial/x",
    "a\0b",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name_leads_out_or_to_where_other_programs_run_it(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = Hostile({name: b"evil", "README": b"good"}).pull(out)

    assert not report.ok
    assert everything(tmp_path) == {"out", "out/README"}


@pytest.mark.parametrize(
    "name", ["a\\..\\evil", "C:\\evil", "C:evil", "CON", "aux.txt", "nul", "a:stream", "a. ", "x" * 300]
)
def test_what_means_more_elsewhere_is_a_name_here_or_none(name: str, tmp_path: Path) -> None:
    Hostile({name: b"evil", "README": b"good"}).pull(tmp_path / "out")

    assert everything(tmp_path) <= {"out", "out/README", f"out/{name}"}
    assert (tmp_path / "out" / "README").read_bytes() == b"good"


@pytest.mark.parametrize("name", ["C:x", "con", "Aux.txt", "a ", "b.", "x\\y", "tab\there"])
def test_windows_is_given_none_of_its_own_names(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("xnat_bids_push.ground.os.name", "nt")
        found = ground.place(f"a/{name}/b"), ground.place("a/console/b") is not None
    assert found == (None, True)


@given(st.text(max_size=30), st.integers(0, 3))
def test_a_place_is_always_in_the_folder(name: str, ups: int) -> None:
    root = Path("/nowhere/at/all")
    found = Ground(root).place("../" * ups + name)

    assert found is None or (found.is_relative_to(root) and found != root)


# ------------------------------------------------------------------ links


@posix
@pytest.mark.parametrize("where", ["code", "code/deep", "README"])
def test_a_link_that_is_there_before_is_not_followed(where: str, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    (out / where).parent.mkdir(parents=True)
    (out / where).symlink_to(other)

    Hostile({"code/deep/x": b"1", "code/y": b"2", "README": b"3"}).pull(out)

    assert everything(other) == set()


@posix
def test_a_link_that_comes_in_the_middle_is_not_followed(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    hostile = Hostile({"code/deep/x": b"1", "README": b"3"})
    hostile.on_download = lambda: (out / "code").symlink_to(other)

    report = hostile.pull(out)

    assert everything(other) == set()
    assert (out / "README").read_bytes() == b"3"
    assert "was not followed" in str(report.failed)


@posix
def test_a_file_that_comes_in_the_middle_is_not_overwritten(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    other.write_text("mine")
    hostile = Hostile({"README": b"3", "CHANGES": b"4"})

    def interfere() -> None:
        (out / "README").symlink_to(other)
        (out / "CHANGES").write_text("mine")

    hostile.on_download = interfere

    assert not hostile.pull(out).ok
    assert other.read_text() == (out / "CHANGES").read_text() == "mine"


@posix
def test_the_place_for_archives_is_no_link(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (other / "kept").touch()
    (out / ".bids2xnat-partial").symlink_to(other)

    with pytest.raises(ConfigError, match="is a link"):
        Hostile({"README": b"3"}).pull(out)
    assert everything(other) == {"kept"}


@posix
@pytest.mark.parametrize(
    "target",
    ["../../evil", "/etc/passwd", "a/../../../evil", "../out/../../evil", ".git/config", "x\0y", "x" * 5000],
)
def test_no_link_of_a_manifest_leads_out(target: str, tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("theirs")
    out = tmp_path / "out"
    (out / ".git").mkdir(parents=True)
    (out / ".git/config").write_text("theirs")

    Hostile({"code/x": b"1"}, [{"path": "code/link", "kind": "link", "target": target}]).pull(out)

    assert not (out / "code/link").is_symlink()


@posix
def test_a_link_of_a_manifest_is_no_way_for_another(tmp_path: Path) -> None:
    """Each is harmless by itself, until the one before it is there."""
    out = tmp_path / "out"
    marks: list[dict[str, object]] = [
        {"path": "a", "kind": "link", "target": "code/deep"},
        {"path": "b", "kind": "link", "target": "a/../../.."},
        {"path": "a/c", "kind": "link", "target": "../../../evil"},
    ]
    (tmp_path / "evil").touch()

    assert not Hostile({"code/deep/x": b"1"}, marks).pull(out).ok
    assert os.readlink(out / "a") == "code/deep"
    for path in out.rglob("*"):
        assert path.resolve().is_relative_to(out.resolve())


@pytest.mark.parametrize(
    "mark",
    [
        {"path": "../evil", "kind": "empty folder"},
        {"path": "../evil", "kind": "executable"},
        {"path": "README", "kind": "empty folder"},
        {"path": "README/x", "kind": "empty folder"},
        {"path": ".git/hooks", "kind": "empty folder"},
        {"path": "x" * 300, "kind": "empty folder"},
        {"path": "\ud800", "kind": "empty folder"},
        {"path": "", "kind": "link", "target": "README"},
        {"path": 7, "kind": "link", "target": "README"},
        {"path": "a", "kind": "link", "target": ["README"]},
        {"path": "a", "kind": "no such kind"},
        ["a"],
        None,
    ],
)
def test_a_manifest_makes_nothing_that_is_not_the_datasets(mark: object, tmp_path: Path) -> None:
    report = Hostile({"README": b"1"}, [cast("dict[str, object]", mark)]).pull(tmp_path / "out")

    assert not report.ok
    assert everything(tmp_path) <= {"out", "out/README"}


@posix
def test_what_is_made_executable_is_a_file_of_the_dataset(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.write_text("mine")
    other.chmod(0o600)
    (out / "run").symlink_to(other)
    os.mkfifo(out / "pipe")

    Hostile({"README": b"1"}, [{"path": name, "kind": "executable"} for name in ("run", "pipe", "README")]).pull(out)

    assert other.stat().st_mode & 0o777 == 0o600
    assert (out / "README").stat().st_mode & 0o100
    with pytest.raises(OSError, match="run"):
        Ground(out).make_executable("run")


# ------------------------------------------------------------------ archives


def test_of_two_entries_of_one_name_the_right_content_counts(tmp_path: Path) -> None:
    def body() -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr(entry(TABLE.other, "README"), b"good")
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr(entry(TABLE.other, "README"), b"evil")
        return target.getvalue()

    report = Hostile({"README": b"good"}, body=body).pull(tmp_path / "out")

    assert not report.ok
    assert everything(tmp_path / "out") == set()


def test_entries_that_are_not_listed_are_not_written(tmp_path: Path) -> None:
    body = zipped({(TABLE.other, "README"): b"good", (TABLE.other, "more"): b"evil", (TABLE.other, "../x"): b"evil"})

    assert Hostile({"README": b"good"}, body=lambda: body).pull(tmp_path / "out").ok
    assert everything(tmp_path) == {"out", "out/README"}


def test_an_entry_is_read_no_further_than_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped({(TABLE.other, "README"): bytes(50_000_000)})
    read = 0
    plain = zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, size: int | None = -1) -> bytes:
        nonlocal read
        piece = plain(self, size)
        read += len(piece)
        return piece

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    report = Hostile({"README": b"good"}, body=lambda: bomb).pull(tmp_path / "out")

    assert read <= 10
    assert "4 bytes on the server, more arrived" in str(report.failed)
    assert everything(tmp_path / "out") == set()


def test_a_manifest_is_read_no_further_than_it_is_listed(tmp_path: Path) -> None:
    hostile = Hostile({"README": b"good"}, [{"path": "a", "kind": "empty folder"}])
    bomb = zipped({**hostile.contents(), (TABLE.manifest, MANIFEST): b'{"marks": [' + b" " * 50_000_000 + b"]}"})
    hostile.body = lambda: bomb

    assert "another size" in str(hostile.pull(tmp_path / "out").failed)


def test_an_archive_longer_than_its_listing_is_cut(tmp_path: Path) -> None:
    body = zipped({(TABLE.other, "README"): b"good", (TABLE.other, "more"): os.urandom(3_000_000)})

    assert "more than it lists" in str(Hostile({"README": b"good"}, body=lambda: body).pull(tmp_path / "out").failed)


def _encrypted() -> bytes:
    body = bytearray(zipped({(TABLE.other, "README"): b"good"}))
    body[6] |= 1
    body[body.index(b"PK\1\2") + 8] |= 1
    return bytes(body)


def _unknown_method() -> bytes:
    body = bytearray(zipped({(TABLE.other, "README"): b"good"}))
    body[8] = 99
    body[body.index(b"PK\1\2") + 10] = 99
    return bytes(body)


def _damaged() -> bytes:
    body = bytearray(zipped({(TABLE.other, "README"): b"good" * 100}))
    start = 30 + len(entry(TABLE.other, "README"))
    body[start : start + 4] = b"\xff" * 4
    return bytes(body)


@pytest.mark.parametrize("body", [_encrypted(), _unknown_method(), _damaged(), b"", b"PK\5\6" + bytes(18), b"<html>"])
def test_an_archive_that_is_none_is_an_outcome(body: bytes, tmp_path: Path) -> None:
    report = Hostile({"README": b"good" * 100}, body=lambda: body).pull(tmp_path / "out")

    assert not report.ok
    assert everything(tmp_path / "out") == set()


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_damaged_archive_is_an_outcome(tmp_path_factory: pytest.TempPathFactory, noise: bytes, start: int) -> None:
    body = bytearray(zipped({(TABLE.other, "README"): b"good", (TABLE.other, "CHANGES"): b"new"}))
    body[start : start + len(noise)] = noise
    out = tmp_path_factory.mktemp("out")

    Hostile({"README": b"good", "CHANGES": b"new"}, body=lambda: bytes(body)).pull(out)

    assert everything(out) <= {"README", "CHANGES"}
    assert {(out / name).read_bytes() for name in everything(out)} <= {b"good", b"new"}


# ------------------------------------------------------------------ by path, where the system has no handles


@posix
def test_without_handles_links_are_not_followed_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xnat_bids_push.ground._BY_FOLDER", False)
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (out / "code").symlink_to(other)

    report = Hostile({"code/x": b"1", "README": b"2"}).pull(out)
    with pytest.raises(Blocked):
        Ground(out).write("code/x", io.BytesIO(b"1"), size=1, md5="")

    assert not report.ok
    assert everything(other) == set()
    assert (out / "README").read_bytes() == b"2"
    assert LEADS_OUT in str(report.failed)
