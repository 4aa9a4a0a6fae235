"""What the documentation shows, done: each page in a folder of its own, its blocks in their order.

Blocks of the kind ``console`` and ``python`` are run. What they print must be what the page shows: behind a command's
``$``, or in a block of the kind ``text`` after the Python. An ellipsis in a line stands for anything in that line; a
line that is only an ellipsis stands for any number of lines. A command must succeed unless the next one is ``echo $?``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from test_data.generate import generate, generate_annex, generate_many
from xnat_bids_push import cli
from xnat_bids_push.server import LocalServer

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
FOLLOWED = [
    "howto/bids-app.md",
    "howto/changes.md",
    "howto/choose.md",
    "howto/ci.md",
    "howto/mapping-file.md",
    "howto/privacy.md",
    "howto/receipt.md",
    "howto/settings.md",
    "howto/snapshots.md",
    "howto/undo.md",
    "howto/validate.md",
    "howto/watch.md",
    "reference/api.md",
    "reference/exit-codes.md",
]
PAGES = ["tutorial.md", "howto/real-xnat.md", "howto/check.md", "howto/cluster.md", "howto/datalad.md", *FOLLOWED]

PASSWORD = "the-password"
EXAMPLE = "https://xnat.example.org"

_FENCE = re.compile(r"^```(?:\{code-block\} )?(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the pages speak to a POSIX shell")


# ------------------------------------------------------------------ what a page says


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """What is typed behind a ``$``, and what is shown below it."""

    text: str
    shown: str


def blocks_of(page: str) -> list[Block]:
    return [Block(match[1], match[2]) for match in _FENCE.finditer(page)]


def commands_of(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        first, *rest = part.splitlines()
        more = [line for line in rest if line.startswith("> ")]
        typed = "\n".join([first, *(line.removeprefix("> ") for line in more)])
        yield Command(typed, "".join(f"{line}\n" for line in rest[len(more) :]))


def as_pattern(shown: str) -> str:
    lines = (r"(?:.*\n)*?" if line == "…" else _line_pattern(line) for line in shown.splitlines())
    return "".join(lines)


def _line_pattern(line: str) -> str:
    return ".*?".join(re.escape(piece) for piece in line.split("…")) + r"\n"


def says(printed: str, shown: str) -> bool:
    return re.fullmatch(as_pattern(shown), printed) is not None


# ------------------------------------------------------------------ where a page is followed


@dataclass
class Reader:
    """Somebody who follows a page: a home folder, a shell that remembers, and a Python that remembers."""

    home: Path
    start: Path
    replaced: tuple[tuple[str, str], ...] = ()
    names: dict[str, object] = field(default_factory=dict)

    def follow(self, page: str) -> None:
        blocks = blocks_of(page)
        for block, after in zip(blocks, [*blocks[1:], Block("", "")], strict=True):
            if block.language == "console":
                self._type(list(commands_of(block.text)))
            elif block.language == "python":
                shown = after.text if after.language == "text" else ""
                self._run(block.text, shown)

    def _type(self, commands: list[Command]) -> None:
        assert commands, "a console block without a command"
        codes, printed = self._shell([self._real(command.text) for command in commands])
        for number, command in enumerate(commands):
            expected = number + 1 < len(commands) and commands[number + 1].text == "echo $?"
            told = f"$ {command.text}\n{printed[number]}"
            assert codes[number] == 0 or expected, told
            assert says(printed[number], command.shown), f"{told}\n--- the page shows ---\n{command.shown}"

    def _shell(self, commands: list[str]) -> tuple[list[int], list[str]]:
        """Run commands in one shell, which goes on where the last one was."""
        work = self.home / ".shell"
        state = work / "state"
        script = [f"cd '{self.start}'", f"if [ -e '{state}' ]; then . '{state}'; fi"]
        for number, command in enumerate(commands):
            script.append(f"{{ {command}\n}} >'{work}/{number}.out' 2>&1")
            script.append(f"status=$?; echo $status >'{work}/{number}.code'; (exit $status)")
        script.append(f"{{ export -p; echo \"cd '$PWD'\"; }} >'{state}'")
        (work / "script").write_text("\n".join(script) + "\n")
        subprocess.run(
            ["bash", str(work / "script")],
            env=self._environment(),
            input=f"{PASSWORD}\n",
            text=True,
            check=True,
            timeout=300,
        )
        numbers = range(len(commands))
        codes = [int((work / f"{number}.code").read_text()) for number in numbers]
        return codes, [self._example((work / f"{number}.out").read_text()) for number in numbers]

    def _environment(self) -> dict[str, str]:
        path = f"{self.home / '.shell'}{os.pathsep}{os.environ['PATH']}"
        plain = {"COLUMNS": "100", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
        deno = str(self.home.parent / "deno")  # one for all pages: the validator starts in half the time
        keyring = {"PYTHON_KEYRING_BACKEND": "tests.keyrings.InAFile", "PYTHONPATH": str(CHECKOUT)}
        return {"HOME": str(self.home), "PATH": path, "DENO_DIR": deno} | plain | keyring

    def _run(self, code: str, shown: str) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(self.home):
            exec(compile(self._real(code), "page", "exec"), self.names)
        assert says(printed.getvalue(), shown), f"{code}\n{printed.getvalue()}\n--- the page shows ---\n{shown}"

    def _real(self, text: str) -> str:
        for example, real in self.replaced:
            text = text.replace(example, real)
        return text

    def _example(self, text: str) -> str:
        for example, real in self.replaced:
            text = text.replace(real, example)
        return text


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validator: None) -> Path:
    """A home folder with the programs that the pages call, and nothing else of this machine's."""
    for name in [name for name in os.environ if name.startswith(("XNAT", "BIDS2XNAT", "NETRC"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))
    shell = tmp_path / ".shell"
    shell.mkdir()
    program = "import sys; sys.argv[0] = 'bids2xnat'; from xnat_bids_push.cli import main; main()"
    bids_app = "from xnat_bids_push.bidsapp import main; main()"
    official = "from bids_validator_deno import cli; cli()"
    _write_program(shell / "python", f'exec "{sys.executable}" "$@"')
    _write_program(shell / "bids-validator-deno", f'exec "{sys.executable}" -c "{official}" "$@"')
    _write_program(shell / "bids2xnat-app", f'exec "{sys.executable}" -c "{bids_app}" "$@"')
    _write_program(shell / "bids2xnat", f'exec "{sys.executable}" -c "{program}" "$@"')
    return tmp_path


def _write_program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def stock_xnat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """What the pages call https://xnat.example.org: a stock site on which Alice has a login."""
    with LocalServer(tmp_path_factory.mktemp("site"), registered="stock") as server:
        account = {"username": "alice", "password": PASSWORD, "email": "alice@example.org"}
        account |= {"firstName": "Alice", "lastName": "Example"}
        login = (server.user, server.password)
        answer = requests.post(f"{server.url}/xapi/users", json=account, auth=login, timeout=30)
        assert answer.status_code == 201, answer.text
        yield server


# ------------------------------------------------------------------ the pages


def test_the_tutorial_does_what_it_shows(home: Path) -> None:
    Reader(home, CHECKOUT).follow(_read("tutorial.md"))


@pytest.mark.parametrize("page", FOLLOWED)
def test_the_page_does_what_it_shows(page: str, home: Path) -> None:
    generate(home / "study")

    reader = Reader(home, home)
    reader.follow("```console\n$ export BIDS2XNAT_ARCHIVE=~/archive\n```\n" + _read(page))


def test_a_datalad_dataset_is_pushed_as_the_page_shows(home: Path) -> None:
    generate_annex(home / "annexed")

    reader = Reader(home, home)
    reader.follow(_read("howto/datalad.md"))


def test_a_real_server_is_used_as_the_page_shows(home: Path, stock_xnat: LocalServer) -> None:
    generate_many(home / "study", subjects=2)
    generate(home / "multimodal")
    host = stock_xnat.url.removeprefix("http://")

    reader = Reader(home, home, ((EXAMPLE, stock_xnat.url), ("xnat.example.org", host)))
    reader.follow(_read("howto/real-xnat.md"))


def test_a_server_is_examined_as_the_page_shows(home: Path, stock_xnat: LocalServer) -> None:
    generate_many(home / "study", subjects=1)
    (home / ".netrc").write_text(f"machine {stock_xnat.url.removeprefix('http://')} login alice password {PASSWORD}\n")

    reader = Reader(home, home, ((EXAMPLE, stock_xnat.url),))
    reader.follow(f"```console\n$ bids2xnat study STUDY --server {EXAMPLE} --create-project\n…\n```\n")
    reader.follow(_read("howto/check.md"))


SBATCH = r"""for script; do :; done
count=$(sed -n 's/^#SBATCH --array=1-\([0-9]*\).*/\1/p' "$script")
for task in $(seq "$count"); do
  SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_COUNT=$count bash "$script" > "push-$task.log" 2>&1 & tasks="$tasks $!"
done
echo "Submitted batch job 1"
for task in $tasks; do wait "$task" || exit 1; done"""
"""What Slurm does with an array, on this machine."""

JOBQUEUE = """
from distributed import LocalCluster

class SLURMCluster(LocalCluster):
    def __init__(self, **_):
        super().__init__(n_workers=0, processes=False, protocol="tcp://", dashboard_address=":0")

    def scale(self, jobs):
        super().scale(jobs)
"""
"""A queue whose jobs are threads of this machine."""


def test_a_cluster_is_used_as_the_page_shows(home: Path, stock_xnat: LocalServer) -> None:
    generate_many(home / "study", subjects=3)
    (home / ".netrc").write_text(f"machine {stock_xnat.url.removeprefix('http://')} login alice password {PASSWORD}\n")
    _write_program(home / ".shell/sbatch", SBATCH)
    (home / "dask_jobqueue.py").write_text(JOBQUEUE)

    reader = Reader(home, home, ((EXAMPLE, stock_xnat.url),))
    reader.follow(_read("howto/cluster.md"))


def test_every_page_with_commands_is_followed() -> None:
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    shown = {page for page in pages if {block.language for block in blocks_of(_read(page))} & {"console", "python"}}

    assert shown == {*PAGES, "howto/test-with-it.md"}  # the latter by the tests of the plugin


def test_every_exit_code_is_explained() -> None:
    explained = re.findall(r"^\| (\d+) \|", _read("reference/exit-codes.md"), re.MULTILINE)

    codes = {cli.OK, cli.DIFFERS, cli.USAGE, cli.BAD_DATASET, cli.DENIED, cli.UNREACHABLE, cli.INTERRUPTED}
    assert {int(code) for code in explained} == codes


def test_every_command_is_in_the_reference() -> None:
    shown = re.findall(r"^```\{cli-help\} ([a-z ]+)$", _read("reference/cli.md"), re.MULTILINE)

    assert sorted(shown) == sorted(_commands())


def test_every_module_is_in_the_design() -> None:
    rows = [line for line in _read("explanation/design.md").splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    package = Path(cli.__file__).parent

    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert modules - named == set()


def test_the_readme_is_one_screen() -> None:
    assert len(_lines(CHECKOUT / "README.md")) <= 60


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*CHECKOUT.glob("*.md"), *DOCS.rglob("*.md")]
    lost = [f"{page.name}: {link}" for page in pages for link in _links(page) if not (page.parent / link).exists()]

    assert lost == []


def _read(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def _links(page: Path) -> Iterable[str]:
    found = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def _commands() -> Iterable[str]:
    groups = [("", cli.app), *((f"{group.name} ", group.typer_instance) for group in cli.app.registered_groups)]
    return [
        f"{front}{command.name or getattr(command.callback, '__name__', '')}"
        for front, app in groups
        if app is not None
        for command in app.registered_commands
    ]


# ------------------------------------------------------------------ the reader itself


def test_an_ellipsis_stands_for_words_or_for_lines() -> None:
    assert says("a 1 b\nc\nd\ne\n", "a … b\n…\ne\n")
    assert says("e\n", "…\ne\n")
    assert not says("a\nb\n", "a\n")
    assert not says("a\nx\n", "a…\nb\n")


def test_a_page_that_shows_something_else_is_noticed(home: Path) -> None:
    reader = Reader(home, home)

    reader.follow("```console\n$ echo one\none\n$ false\n$ echo $?\n1\n```\n")
    with pytest.raises(AssertionError, match="the page shows"):
        reader.follow("```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match="false"):
        reader.follow("```console\n$ false\n```\n")
