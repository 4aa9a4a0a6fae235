"""Imports point one way, each foreign library has one door, and nothing heavy loads before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import xnat_bids_push

PACKAGE = "xnat_bids_push"
ROOT = Path(xnat_bids_push.__file__).parent

LAYERS = (
    {"errors", "model", "names", "portable", "annex", "deeds"},
    {
        "labels",
        "rules",
        "table",
        "mapping",
        "choosing",
        "fields",
        "planning",
        "preflight",
        "report",
        "schema",
        "documents",
        "fitting",
        "materialising",
        "policies",
        "planfile",
        "doctor",
        "identifying",
        "shares",
        "annotating",
        "preferences",
        "picturing",
        "resting",
    },
    {
        "ignoring",
        "dataset",
        "archive",
        "breaker",
        "flow",
        "pacing",
        "client",
        "transport",
        "package",
        "config",
        "headers",
        "metadata",
        "privacy",
        "waves",
        "stopwatch",
        "snapshots",
        "ground",
        "tailoring",
        "validating",
        "uris",
        "receipt",
        "showing",
        "tokens",
        "vault",
    },
    {"rereading", "connecting", "describing", "running", "pushing", "serving", "keeping", "depositing", "illustrating"},
    {"executing", "rechecking", "pulling", "removing", "undoing", "explaining", "examining", "checking", "watching"},
    {"bidsapp", "cli", "completing", "options", "progress", "pytest_plugin", "ui"},
)
"""What a module may import lies in its own layer or in one before it."""

DOORS = {
    "xnat": {"client"},
    "requests": {"client", "transport"},
    "stamina": {"client"},
    "defusedxml": {"archive"},
    "rich": {"progress", "ui"},
    "typer": {"cli", "completing", "options"},
    "platformdirs": {"config"},
    "jsonschema": {"tailoring"},
    "pathspec": {"ignoring"},
    "pytest": {"pytest_plugin"},
    "h5py": {"headers"},
    "nibabel": {"headers"},
    "deno": {"validating"},
    "jinja2": {"showing"},
    "keyring": {"vault"},
    "distributed": {"executing"},
    "numpy": {"snapshots"},
    "PIL": {"snapshots"},
}
"""Each library has one module that knows it. The embedded archive has its own, and shares none with the client."""

SERVER_LIBRARIES = {"starlette", "uvicorn", "argon2", "jinja2", "lxml", "defusedxml", "python_multipart", "multipart"}


def modules() -> list[Path]:
    """The package's modules, but for those of the embedded archive."""
    return sorted(path for path in ROOT.glob("*.py") if path.name != "__init__.py")


def server_modules() -> list[Path]:
    return sorted((ROOT / "server").rglob("*.py"))


@cache
def imports(path: Path) -> frozenset[str]:
    """The full names of all modules that a file imports, wherever in it."""
    own = (PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)
    package = own[:-1]
    return frozenset(_imported(ast.parse(path.read_text("utf-8")), package))


def _imported(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module, names, level):
                front = ".".join(package[: len(package) - level + 1]) if level else ""
                base = ".".join(part for part in (front, module) if part)
                yield base
                yield from (f"{base}.{name.name}" for name in names if (ROOT.parent / base.replace(".", "/")).is_dir())
            case _:
                pass


def own_imports(path: Path) -> set[str]:
    """The modules of this package that a file imports, by their names in it; "server" for all of the server's."""
    known = {module.stem for module in modules()} | {"server"}
    inside = {name.split(".")[1] for name in imports(path) if name.startswith(f"{PACKAGE}.")}
    return inside & known


def foreign(path: Path) -> set[str]:
    """The libraries that a file imports."""
    return {name.partition(".")[0] for name in imports(path)} - sys.stdlib_module_names - {PACKAGE, ""}


def layer(module: str) -> int:
    [number] = [number for number, names in enumerate(LAYERS) if module in names]
    return number


def test_every_module_has_its_layer() -> None:
    assert sorted(name for names in LAYERS for name in names) == [path.stem for path in modules()]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_imports_point_one_way(path: Path) -> None:
    for imported in own_imports(path) - {"server"}:
        assert layer(imported) <= layer(path.stem), f"{path.stem} imports {imported}"


def test_no_imports_go_in_circles() -> None:
    waiting = {path.stem: own_imports(path) - {"server"} for path in modules()}
    while waiting:
        free = {module for module, needed in waiting.items() if not needed & waiting.keys()}
        assert free, f"a circle among {sorted(waiting)}"
        waiting = {module: needed for module, needed in waiting.items() if module not in free}


def test_the_pure_modules_touch_nothing_outside() -> None:
    """Deciding is pure: no files, no network, no clock, no threads, no chance."""
    outside = {"os", "shutil", "socket", "subprocess", "threading", "time", "tempfile", "random", "asyncio", "urllib"}
    for path in modules():
        if layer(path.stem) <= layer("planning"):
            assert not {name.partition(".")[0] for name in imports(path)} & outside, path.stem
            assert not foreign(path), path.stem


@pytest.mark.parametrize("path", server_modules(), ids=lambda path: path.stem)
def test_the_embedded_archive_shares_nothing_with_the_client(path: Path) -> None:
    """It is the oracle of these tests: one misunderstanding must not sit on both sides."""
    assert own_imports(path) <= {"server"}
    assert foreign(path) <= SERVER_LIBRARIES


def test_few_modules_know_the_embedded_archive() -> None:
    knowing = {path.stem for path in modules() if "server" in own_imports(path)}
    assert knowing == {"connecting", "serving", "pytest_plugin"}


@pytest.mark.parametrize("library", sorted(DOORS))
def test_each_library_has_one_door(library: str) -> None:
    assert {path.stem for path in modules() if library in foreign(path)} == DOORS[library]


def test_no_library_comes_in_by_another_way() -> None:
    assert {library for path in modules() for library in foreign(path)} == set(DOORS)


LATE = (
    "xnat",
    "pandas",
    "nibabel",
    "numpy",
    "PIL",
    "starlette",
    "uvicorn",
    "lxml",
    "bids",
    "requests",
    "rich.progress",
    "keyring",
    "dask",
    "distributed",
)


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.cli", f"{PACKAGE}.bidsapp"])
def test_nothing_heavy_loads_before_a_command_runs(module: str) -> None:
    """`bids2xnat --help` and tab completion answer at once."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)

    loaded = set(done.stdout.split())
    assert module in loaded
    assert loaded.isdisjoint(LATE)


def test_help_loads_nothing_that_works() -> None:
    code = f"import sys; from {PACKAGE}.cli import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)

    loaded = set(done.stderr.split())
    working = {
        f"{PACKAGE}.{name}" for name in ("table", "rules", "fields", "policies", "report", "doctor", "ui", "config")
    }
    assert f"{PACKAGE}.options" in loaded
    assert loaded.isdisjoint(working)


def test_reading_and_placing_a_dataset_needs_no_client_and_no_pybids() -> None:
    code = f"import sys, {PACKAGE}.dataset as d; d.vocabulary(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)

    assert set(done.stdout.split()).isdisjoint(LATE)


def test_every_public_name_can_be_had() -> None:
    for name in xnat_bids_push.__all__:
        assert getattr(xnat_bids_push, name)
    with pytest.raises(AttributeError, match="nothing_like_that"):
        xnat_bids_push.nothing_like_that  # noqa: B018  # looking it up is the test
