"""Names that a folder cannot hold are told before a pull writes anything; rules are tested where no such system is."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Connect
from tests.test_laws import tree
from tests.test_structure import PACKAGE, modules
from xnat_bids_push import cli, pulling
from xnat_bids_push.choosing import Choice
from xnat_bids_push.dataset import read
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.ground import Ground, ability
from xnat_bids_push.portable import MACOS, WINDOWS, Ability, clashes, extended
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import push

CHECKOUT = Path(__file__).parents[1]

BIDS = st.from_regex(
    r"sub-[A-Za-z0-9]+(_(ses|task|run)-[A-Za-z0-9]+)*_(T1w|bold|eeg)\.(nii\.gz|json|tsv)", fullmatch=True
)


# ------------------------------------------------------------------ the rules


@pytest.mark.parametrize(
    "name",
    [
        *("CON", "nul", "Aux.txt", "com1.nii.gz", "LPT9", "COM¹", "conout$", "nul .txt"),
        *("a:b", "what?", "a*", 'a"b', "<a>", "a|b", "a\\b", "tab\t", "dot.", "space ", "..."),
    ],
)
def test_windows_cannot_hold_some_names(name: str) -> None:
    assert WINDOWS.fault(name)
    assert MACOS.fault(name) == ""


@pytest.mark.parametrize("name", ["CONTROL", "nulls", "com", "com10", "lpt", ".bidsignore", "a.b", " a", "con-1_T1w"])
def test_windows_can_hold_what_only_looks_like_those(name: str) -> None:
    assert WINDOWS.fault(name) == ""


@given(BIDS)
def test_every_system_can_hold_a_bids_name(name: str) -> None:
    assert WINDOWS.fault(name) == ""


@given(st.lists(st.text(min_size=1).filter(lambda text: "/" not in text), unique=True))
def test_nothing_clashes_where_everything_can_be_held_and_told_apart(names: list[str]) -> None:
    assert list(clashes(names, Ability())) == []


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_macos_takes_both_forms_of_a_name_for_one(name: str) -> None:
    assert MACOS.key(unicodedata.normalize("NFC", name)) == MACOS.key(unicodedata.normalize("NFD", name))


def test_names_that_differ_only_in_case_are_one_place_also_as_folders() -> None:
    found = dict(clashes(["code/run.py", "Code/other.py", "README", "readme", "straße", "strasse"], WINDOWS))
    assert found == {
        "Code/other.py": "is one place there with code",
        "readme": "is one place there with README",
    }


def test_names_may_be_too_long_for_a_folder() -> None:
    assert Ability(longest=10).fault("é" * 6)
    assert Ability(longest=12).fault("é" * 6) == ""


@given(st.sampled_from(["C:\\", "\\\\host\\share\\"]), st.lists(st.from_regex("[a-z]{1,9}", fullmatch=True)))
def test_a_long_path_of_windows_leads_to_the_same_place(root: str, parts: list[str]) -> None:
    path = root + "\\".join(parts)
    long = extended(path)
    assert long.startswith("\\\\?\\")
    assert extended(long) == long
    assert PureWindowsPath(long).is_absolute()
    assert PureWindowsPath(long).parts[1:] == PureWindowsPath(path).parts[1:]


# ------------------------------------------------------------------ a pull


def test_what_a_folder_can_hold_is_tried_out_and_leaves_nothing(tmp_path: Path) -> None:
    found = ability(tmp_path)

    assert list(tmp_path.iterdir()) == []
    if sys.platform == "linux":
        assert found == Ability(longest=os.pathconf(tmp_path, "PC_NAME_MAX"))


@pytest.fixture
def awkward(small_root: Path) -> Path:
    for path in ("code/aux.py", "code/Run.sh", "code/run.sh", "sub-02/anat/note."):
        (small_root / path).parent.mkdir(exist_ok=True)
        (small_root / path).write_text(path)
    return small_root


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be made on Windows")
def test_a_pull_names_all_that_a_folder_cannot_hold_and_writes_nothing(
    awkward: Path, tmp_path: Path, open_project: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "ability", lambda _: WINDOWS)
    out = tmp_path / "out"

    with open_project() as archive:
        push(read(awkward), archive, pause=0)
        with pytest.raises(ConfigError) as caught:
            pull(archive, out)

    said = str(caught.value)
    assert "code/aux.py: a device of Windows" in said
    assert "code/run.sh: is one place there with code/Run.sh" in said
    assert "sub-02/anat/note.: ends with a dot" in said
    assert list(out.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be made on Windows")
def test_a_folder_that_can_hold_what_is_chosen_is_pulled_into(
    awkward: Path, tmp_path: Path, open_project: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("code/aux.py", "code/run.sh"):
        (awkward / path).unlink()
    monkeypatch.setattr(pulling, "ability", lambda _: WINDOWS)

    with open_project() as archive:
        push(read(awkward), archive, pause=0)
        assert pull(archive, tmp_path / "out", choice=Choice.of(participants=["01"])).ok

    assert {path for path in tree(tmp_path / "out") if path.startswith("sub-")} >= {"sub-01/anat/sub-01_T1w.nii.gz"}


def test_nothing_that_windows_takes_for_another_place_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "name", "nt")
    places = [Ground.place(Ground(tmp_path), name) for name in ("sub-01/nul.txt", "a:b", "c./x")]
    monkeypatch.undo()
    assert places == [None, None, None]


# ------------------------------------------------------------------ on Windows

BLOCKED = ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "_posixsubprocess", "_curses")
"""What Python has on POSIX only."""


def test_every_module_of_the_client_can_be_imported_where_posix_is_absent() -> None:
    names = [f"{PACKAGE}.{path.stem}" for path in modules() if path.stem != "pytest_plugin"]
    block = f"import subprocess, uuid, sys; sys.modules.update(dict.fromkeys({BLOCKED!r}))"
    code = f"{block}; import {', '.join(names)}; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=CHECKOUT)

    assert done.returncode == 0, done.stderr
    assert set(names) <= set(done.stdout.split())


@pytest.mark.parametrize("command", [["push", "nowhere", "P", "--validation", "off"], ["serve"], ["serve", "--check"]])
def test_the_local_archive_says_where_it_works(
    command: list[str],
    small_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    words = [str(small_root) if word == "nowhere" else word for word in command]

    assert cli.run([*words, "--archive", str(tmp_path / "archive")]) == cli.USAGE
    assert "works on Linux and macOS only: give --server" in capsys.readouterr().err
