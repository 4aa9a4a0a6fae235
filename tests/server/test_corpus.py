"""The recorded exchanges of a real XNAT, replayed; they lie beside the checkout and are not part of the project."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from xnat_bids_push.server import LocalServer

SHARED = Path(__file__).parents[2].parent / "shared"
SCENARIOS = sorted((SHARED / "xnat-corpus").glob("*.json"))

pytestmark = pytest.mark.skipif(not SCENARIOS, reason="the recordings are not beside the checkout")


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    """The replayer that comes with the recordings."""
    spec = importlib.util.spec_from_file_location("replay", SHARED / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def target(replay: ModuleType, server: LocalServer) -> Any:
    """The server as the replayer sees it."""
    found = replay.Server(server.url, f"{server.user}:{server.password}")
    found.ensure_users()
    yield found
    for session in found.sessions.values():
        session.close()


@pytest.mark.parametrize("turn", ["once", "again"])
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_answers_as_the_recorded_server_did(path: Path, turn: str, replay: ModuleType, target: Any) -> None:
    scenario = json.loads(path.read_text())
    setups = json.loads((SHARED / "setups.json").read_text())

    differences = replay.run_scenario(target, scenario, setups)

    assert differences == []
