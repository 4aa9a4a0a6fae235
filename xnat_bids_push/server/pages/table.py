"""The table of pages: which address shows what."""

from __future__ import annotations

from typing import Final

from xnat_bids_push.server.web import Route, route

from . import entrance, projects, sessions, subjects
from .rendering import icon, missing, shown

_P: Final = "/app/projects/{project}"
_S: Final = f"{_P}/subjects/{{subject}}"
_E: Final = f"{_P}/experiments/{{experiment}}"

ROUTES: Final[tuple[Route, ...]] = (
    route("/app/template/Login.vm", GET=entrance.door),
    route("/app/login", GET=entrance.door, POST=entrance.log_in),
    route("/app/logout", POST=entrance.log_out),
    route("/app/icon.svg", GET=icon),
    route("/app(?:/projects|/template/Index.vm)?", GET=shown(projects.every)),
    route(_P, GET=shown(projects.sessions)),
    route(f"{_P}/subjects", GET=shown(projects.subjects)),
    route(f"{_P}/resources", GET=shown(projects.files)),
    route(f"{_P}/resources/{{resource}}", GET=shown(projects.resource)),
    route(_S, GET=shown(subjects.subject)),
    route(f"{_S}/resources/{{resource}}", GET=shown(subjects.resource)),
    route(_E, GET=shown(sessions.session)),
    route(f"{_E}/scans/{{scan}}", GET=shown(sessions.scan)),
    route(f"{_E}/resources/{{resource}}", GET=shown(sessions.resource)),
    route("/app/{rest:rest}", GET=shown(missing)),
)
