"""The image is built of locked parts only and runs as nobody; XNAT's Container Service gets a command that works."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import make_small
from tests.test_lock import locked_in
from tools.image import DOCKERFILE, Root, Step, label, pairs, stages
from xnat_bids_push import __version__, bidsapp
from xnat_bids_push.bidsapp import commands, read_arguments

CHECKOUT = Path(__file__).parents[1]
STAGES = stages(DOCKERFILE.read_text("utf-8"))
LAST = STAGES[-1]
COMMAND: dict[str, Any] = json.loads((CHECKOUT / "containers/xnat-command.json").read_text("utf-8"))


def rests(word: str) -> list[str]:
    return [step.rest for stage in STAGES for step in stage.steps if step.word == word]


# ------------------------------------------------------------------ the image


def test_all_stages_have_one_base_which_can_be_pinned() -> None:
    assert {stage.base for stage in STAGES} == {"docker.io/library/python:3.13-slim-trixie"}
    assert "ARG BASE=" in DOCKERFILE.read_text("utf-8")


def test_the_image_runs_as_nobody_and_starts_the_bids_app() -> None:
    last = {step.word: step.rest for step in LAST.steps}
    scripts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert json.loads(last["ENTRYPOINT"]) == ["bids2xnat-app"]
    assert "bids2xnat-app" in scripts


def test_what_comes_from_an_index_has_a_hash_and_everything_else_comes_from_no_index() -> None:
    installs = [
        command for text in rests("RUN") for command in re.split(r"&&|;", text) if re.search(r"\bpip\b", command)
    ]
    installs = [command for command in installs if "venv" not in command.split("pip")[0] or "install" in command]

    assert len(installs) == 4
    for command in installs:
        assert "--require-hashes" in command or "--no-deps" in command, command
        assert "--no-index" in command or "--require-hashes" in command or command.strip().endswith("/wheels ."), (
            command
        )


def test_the_image_says_what_it_is() -> None:
    labels = {name.removeprefix("org.opencontainers.image.") for text in rests("LABEL") for name in pairs(text)}
    assert labels == {"title", "description", "licenses", "version", "revision", "source"}


def test_everything_that_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = [name for text in rests("COPY") if "--from" not in text for name in text.split()[:-1]]

    assert {name.partition("/")[0] for name in copied} == sent
    assert all((CHECKOUT / name).exists() for name in copied)


def test_the_check_copies_from_a_stage_what_is_there_and_from_the_checkout_what_is_sent(tmp_path: Path) -> None:
    stage, root = Root(tmp_path / "build"), Root(tmp_path / "root", place="/src")
    for name in ("module.py", "__pycache__/module.pyc"):
        (stage.folder / "opt" / name).parent.mkdir(parents=True, exist_ok=True)
        (stage.folder / "opt" / name).touch()

    root.do(Step("COPY", "--from=build /opt /opt/app"), {"build": stage})
    root.do(Step("COPY", "xnat_bids_push xnat_bids_push"), {})

    assert (root.folder / "opt/app/__pycache__/module.pyc").is_file()
    assert (root.folder / "src/xnat_bids_push/cli.py").is_file()
    assert not (root.folder / "src/xnat_bids_push/__pycache__").exists()


@pytest.mark.parametrize("name", ["image.txt", "build.txt"])
def test_the_image_has_the_versions_that_ci_has(name: str) -> None:
    tested = locked_in("ci.txt")
    assert {package: versions for package, versions in locked_in(name).items() if package != "setuptools"}.items() <= (
        tested.items()
    )


@pytest.mark.parametrize(
    ("file", "table", "key"), [("image.txt", "project", "dependencies"), ("build.txt", "build-system", "requires")]
)
def test_the_image_has_all_that_the_package_asks_for(file: str, table: str, key: str) -> None:
    content = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
    versions = locked_in(file)
    for one in map(Requirement, content[table][key]):
        if one.marker is None or one.marker.evaluate():
            found = versions.get(canonicalize_name(one.name), [])
            assert any(one.specifier.contains(version) for version in found), f"{one}: run make lock"


# ------------------------------------------------------------------ the command for XNAT

TEXT = {"type": "string", "minLength": 1}
NAME = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}
VALUES = {"type": "object", "additionalProperties": {"type": "string"}}


def record(required: list[str], properties: Mapping[str, object]) -> dict[str, object]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def records(required: list[str], properties: Mapping[str, object]) -> dict[str, object]:
    return {"type": "array", "items": record(required, properties)}


FLAG: dict[str, object] = {"type": "boolean"}
INPUT = {"name": NAME, "label": TEXT, "description": TEXT, "required": FLAG, "replacement-key": TEXT}
WORDS = dict.fromkeys(("command-line-flag", "command-line-separator", "true-value", "false-value"), TEXT)
PLAIN = ["string", "boolean", "number"]
MOUNT = {"name": TEXT, "writable": FLAG, "path": {"type": "string", "pattern": "^/"}}
OUTPUT = {"name": NAME, "description": TEXT, "required": FLAG, "mount": TEXT, "path": TEXT, "glob": TEXT}
WRAPPED = INPUT | {
    "type": {"enum": [*PLAIN, "Project", "Subject", "Session", "Scan", "Assessor", "Resource"]},
    "user-settable": FLAG,
    "load-children": FLAG,
    "matcher": TEXT,
    "provides-value-for-command-input": NAME,
    "provides-files-for-command-mount": NAME,
}
DERIVED = WRAPPED | {"derived-from-wrapper-input": NAME, "derived-from-xnat-object-property": TEXT}
HANDLER = {"name": NAME, "label": NAME, "type": {"const": "Resource"}}
HANDLER |= {"accepts-command-output": NAME, "as-a-child-of": NAME}
WRAPPER = {
    "name": TEXT,
    "label": TEXT,
    "description": TEXT,
    "contexts": {"type": "array", "items": TEXT},
    "external-inputs": records(["name", "type"], WRAPPED),
    "derived-inputs": records(["name", "type", "derived-from-wrapper-input"], DERIVED),
    "output-handlers": records(["name", "accepts-command-output", "as-a-child-of", "label"], HANDLER),
}
SCHEMA = record(
    ["name", "image", "type", "command-line"],
    dict.fromkeys(("name", "label", "description", "version", "info-url", "command-line"), TEXT)
    | {
        "schema-version": {"const": "1.0"},
        "type": {"const": "docker"},
        "image": {"type": "string", "pattern": ".+:[a-zA-Z0-9_.-]+$"},
        "override-entrypoint": FLAG,
        "reserve-memory": {"type": "integer"},
        "mounts": records(["name", "path"], MOUNT),
        "environment-variables": VALUES,
        "ports": VALUES,
        "inputs": records(["name"], INPUT | WORDS | {"type": {"enum": PLAIN}, "default-value": {"type": "string"}}),
        "outputs": records(["name", "mount"], OUTPUT),
        "xnat": records(["name"], WRAPPER),
    },
)
"""The form of a command, as the Container Service documents it and as it checks what it is given."""


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def wrappers() -> Iterator[dict[str, Any]]:
    yield from COMMAND["xnat"]


def test_the_command_has_the_form_that_the_container_service_takes() -> None:
    jsonschema.validate(COMMAND, SCHEMA)


def test_every_name_in_the_command_is_one_that_it_has() -> None:
    mounts, inputs, outputs = (names(COMMAND[key]) for key in ("mounts", "inputs", "outputs"))
    assert {output["mount"] for output in COMMAND["outputs"]} <= set(mounts)
    for wrapper in wrappers():
        known: list[str] = []
        for one in [*wrapper["external-inputs"], *wrapper["derived-inputs"]]:
            assert one.get("derived-from-wrapper-input", "") in ["", *known]
            assert one.get("provides-value-for-command-input", inputs[0]) in inputs
            assert one.get("provides-files-for-command-mount", mounts[0]) in mounts
            known.append(one["name"])
        assert len(known) == len(set(known))
        handlers = wrapper["output-handlers"]
        assert {handler["accepts-command-output"] for handler in handlers} == set(outputs)
        assert {handler["as-a-child-of"] for handler in handlers} <= {one["name"] for one in wrapper["external-inputs"]}


def test_every_input_stands_in_the_command_line_and_nothing_else_does() -> None:
    keys = {one["replacement-key"] for one in COMMAND["inputs"]}
    assert set(re.findall(r"#\w+#", COMMAND["command-line"])) == keys


def lines(**values: str) -> list[list[str]]:
    """The programs of the command line, with values for its inputs."""
    line = COMMAND["command-line"]
    for one in COMMAND["inputs"]:
        line = line.replace(one["replacement-key"], values.get(one["name"], one.get("default-value", "")))
    return [shlex.split(part) for part in line.split("&&")]


def test_the_command_line_is_one_that_the_app_takes() -> None:
    done = [
        [command[:3] for command in commands(read_arguments(words[1:], {}))]
        for words in lines(project="STUDY", options="--derivatives all --skip-bids-validation")
    ]
    folder = "/input/dataset"
    assert done == [[["push", folder, "STUDY"]], [["push", folder, "STUDY"], ["verify", folder, "STUDY"]]]


def test_the_command_line_pushes_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(tmp_path / "input/dataset")
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))
    for words in lines(project="STUDY"):
        assert words[0] == "bids2xnat-app"
        with pytest.raises(SystemExit) as end:
            bidsapp.main([re.sub("^/", f"{tmp_path}/", word) for word in words[1:]])
        assert end.value.code == 0
    assert json.loads((tmp_path / "output/verify.json").read_text())["ok"] is True


def test_the_command_is_of_this_version_and_the_label_carries_it() -> None:
    assert COMMAND["version"] == __version__
    assert COMMAND["image"].endswith(f":{__version__}")
    assert json.loads(label()) == [COMMAND]
