"""Tab offers what there is: commands, options, words, servers by their names, and what lies in the dataset."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import make_small
from tests.test_cli import PROGRAM, run

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a settings file and a dataset in it."""
    (tmp_path / "config.toml").write_text(
        '[server.lab]\nurl = "https://a.org"\n[server.clinic]\nurl = "https://b.org"\n'
    )
    monkeypatch.setenv("BIDS2XNAT_CONFIG", str(tmp_path / "config.toml"))
    root = make_small(tmp_path / "study")
    for path in ("sub-01/ses-a", "sub-01/ses-b", "sub-02/ses-c", "derivatives/prep", "derivatives/post", "sub-s1"):
        (root / path).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash is offered behind a line; as in zsh and fish, too."""
    for name, value in {"_BIDS2XNAT_COMPLETE": "complete_bash", "COMP_WORDS": line}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    assert run() == 0
    for_bash = capsys.readouterr().out.split()
    for name, value in {"_BIDS2XNAT_COMPLETE": "complete_fish", "_TYPER_COMPLETE_ARGS": line}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert run() == 0
    assert {one.partition("\t")[0] for one in capsys.readouterr().out.splitlines()} >= set(for_bash)
    return for_bash


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bids2xnat pu", ["push", "pull"]),
        ("bids2xnat config ", ["show", "path"]),
        ("bids2xnat push study P --valid", ["--validation"]),
        ("bids2xnat push study P --validation ", ["require", "warn", "off"]),
        ("bids2xnat study P --valid", ["--validation"]),
        ("bids2xnat study P --existing r", ["replace"]),
        ("bids2xnat plan study P --server ", ["lab", "clinic"]),
        ("bids2xnat study P --server l", ["lab"]),
        ("bids2xnat login ", ["lab", "clinic"]),
        ("bids2xnat logout c", ["clinic"]),
        ("bids2xnat push study P --config nowhere.toml --server ", []),
        ("bids2xnat push study P --participant-label ", ["01", "02", "s1"]),
        ("bids2xnat study P --participant-label s", ["s1", "sub-01", "sub-02", "sub-s1"]),
        ("bids2xnat study P --participant-label sub-0", ["sub-01", "sub-02"]),
        ("bids2xnat verify study P --session-label ", ["a", "b", "c"]),
        ("bids2xnat verify study P --participant-label sub-02 --session-label ", ["c"]),
        ("bids2xnat push study P --derivatives ", ["all", "post", "prep"]),
        ("bids2xnat push study P --datatype m", ["mrs", "meg", "motion", "micr"]),
        ("bids2xnat push nowhere P --participant-label ", []),
        ("bids2xnat push --participant-label ", []),
    ],
)
def test_tab_offers_what_there_is(
    line: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(offered(line, monkeypatch, capsys)) == sorted(words)


def test_a_settings_file_that_is_wrong_is_no_words_of_tab(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.toml").write_text("nonsense")

    assert offered("bids2xnat push study P --server ", monkeypatch, capsys) == []
    assert capsys.readouterr().err == ""


def test_tab_waits_for_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys\nfrom xnat_bids_push.cli import main\ntry:\n main()\nexcept SystemExit:\n pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    asked = {"COMP_WORDS": "bids2xnat study P --server ", "COMP_CWORD": "4", "_BIDS2XNAT_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["lab", "clinic"]
    late = {"xnat", "requests", "bids", "numpy", "jsonschema", "keyring", "xnat_bids_push.ui"}
    assert set(done.stderr.split()).isdisjoint(late)


def test_a_shell_is_told_how_to_ask() -> None:
    """`--show-completion` looks which shell it was started from; here it is told."""
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [*PROGRAM, "--show-completion", "zsh"]
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=True)

    assert "_BIDS2XNAT_COMPLETE" in done.stdout
