"""Routes: which address is answered by which function."""

from __future__ import annotations

from typing import Final

from . import (
    account_pages,
    downloads,
    experiments,
    imports,
    memberships,
    pages,
    projects,
    refresh,
    resources,
    scans,
    site_pages,
    subjects,
    uploads,
)
from .web import Answer, Call, Handler, Route, route

_P: Final = "/projects/{project}"
_S: Final = "/subjects/{subject}"
_E: Final = "/experiments/{experiment}"
_N: Final = "/scans/{scan}"

PUBLIC: Final = ("/data/JSESSION", "/data/services/auth", "/xapi/siteConfig/buildInfo", "/")
"""Addresses that need no login."""

_ARCHIVE: Final = "/data"


def _files(prefix: str) -> list[Route]:
    """Resources and files below one kind of object."""
    base = f"{_ARCHIVE}{prefix}"
    every: dict[str, Handler] = {
        "GET": downloads.get,
        "PUT": uploads.put,
        "POST": uploads.put,
        "DELETE": downloads.delete,
    }
    whole: dict[str, Handler] = {"GET": downloads.listing, "PUT": _upload, "POST": _upload, "DELETE": downloads.delete}
    return [
        route(f"{base}/resources", GET=resources.listing),
        route(
            f"{base}/resources/{{resource}}",
            GET=resources.get,
            PUT=resources.put,
            POST=resources.put,
            DELETE=resources.delete,
        ),
        route(f"{base}/resources/{{resource}}/files/?", **whole),
        route(f"{base}/resources/{{resource}}/files/{{path:rest}}", **every),
        route(
            f"{base}/resources/{{resource}}/{{rest:rest}}",
            GET=resources.no_path,
            PUT=resources.no_path,
            POST=resources.no_path,
            DELETE=resources.no_path,
        ),
        route(f"{base}/files/?", **whole),
        route(f"{base}/files/{{path:rest}}", **every),
    ]


def _upload(call: Call, resource: str | None = None, **address: str) -> Answer:
    return uploads.put(call, "", resource, **address)


def _shares(prefix: str, module: object) -> list[Route]:
    base = f"{_ARCHIVE}{prefix}/projects"
    get, put, delete = (getattr(module, name) for name in ("projects_of", "share", "delete_share"))
    return [route(base, GET=get), route(f"{base}/{{target}}", PUT=put, DELETE=delete)]


def _swallowing(base: str, handler: Handler) -> Route:
    """XNAT's router takes an address for the longest beginning of it that it knows."""
    return route(f"{base}/{{rest:rest}}", GET=handler, PUT=handler, DELETE=handler)


def _scans(prefix: str) -> list[Route]:
    base = f"{_ARCHIVE}{prefix}/scans"
    return [
        route(base, GET=scans.listing, POST=scans.post),
        *_files(f"{prefix}{_N}"),
        route(f"{base}/{{scan}}/projects/{{target}}", PUT=scans.share),
        route(f"{base}/{{scan}}", GET=scans.get, PUT=scans.put, DELETE=scans.delete),
        _swallowing(f"{base}/{{scan}}", scans.swallowed),
    ]


def _experiments(prefix: str) -> list[Route]:
    base = f"{_ARCHIVE}{prefix}"
    return [
        *_files(prefix),
        *_shares(prefix, experiments),
        route(base, GET=experiments.get, PUT=experiments.put, DELETE=experiments.delete),
        _swallowing(base, experiments.swallowed),
    ]


def _subjects(prefix: str) -> list[Route]:
    base = f"{_ARCHIVE}{prefix}"
    return [
        *_files(prefix),
        *_shares(prefix, subjects),
        route(base, GET=subjects.get, PUT=subjects.put, DELETE=subjects.delete),
        _swallowing(base, subjects.swallowed),
    ]


ROUTES: Final[tuple[Route, ...]] = (
    # Accounts and the site
    route("/", GET=site_pages.front),
    *pages.ROUTES,
    route("/data/services/auth", PUT=account_pages.log_in, POST=account_pages.log_in),
    route("/data/auth", GET=account_pages.who),
    route("/data/JSESSION", GET=account_pages.session_name, DELETE=account_pages.log_out),
    route("/data/services/tokens/issue", GET=account_pages.issue_token),
    route("/data/services/tokens/issue/user/{login}", GET=account_pages.issue_token),
    route("/data/services/tokens/validate/{alias}", GET=account_pages.validate_token),
    route("/data/services/tokens/validate/{alias}/{secret}", GET=account_pages.validate_token),
    route("/data/services/tokens/invalidate/{alias}/{secret}", GET=account_pages.invalidate_token),
    route("/data/services/tokens/invalidate/{alias}", GET=account_pages.invalidate_token),
    route("/data/services/tokens/{operation}", GET=account_pages.unknown_operation),
    route("/data/users", GET=account_pages.data_users),
    route("/xapi/users", GET=account_pages.users, POST=account_pages.create_user),
    route("/xapi/users/username", GET=account_pages.current),
    route("/xapi/users/{login}", GET=account_pages.user, PUT=account_pages.change_user),
    route("/xapi/users/{login}/groups", GET=memberships.groups),
    route("/xapi/users/{login}/roles", GET=memberships.site_roles),
    route("/xapi/access/projects", GET=memberships.access),
    route("/xapi/access/{login}/projects", GET=memberships.access),
    route("/xapi/siteConfig/buildInfo", GET=site_pages.build_info),
    route("/xapi/schemas", GET=site_pages.schemas),
    route("/xapi/schemas/{name}", GET=site_pages.schema_document),
    route("/xapi/schemas/{name}/{inner}", GET=site_pages.schema_document),
    route("/xapi/projects/{project}/experiments/{experiment}/scan/{scan}/{kind}", GET=site_pages.snapshot),
    route("/data/search/elements", GET=site_pages.elements),
    route("/data/search/elements/{name}", GET=site_pages.element_fields),
    # Services
    route("/data/services/import", POST=imports.run, PUT=imports.run),
    route("/data/services/refresh/catalog", POST=refresh.run),
    # Projects
    route("/data/projects", GET=projects.listing, POST=projects.post),
    route(f"/data{_P}/accessibility", GET=projects.get_accessibility),
    route(f"/data{_P}/accessibility/{{wanted}}", GET=projects.get_accessibility, PUT=projects.put_accessibility),
    route(f"/data{_P}/users", GET=memberships.users),
    route(
        f"/data{_P}/users/{{group}}/{{login}}",
        GET=memberships.user,
        PUT=memberships.put,
        DELETE=memberships.delete,
    ),
    *_files(_P),
    # Subjects
    route("/data/subjects", GET=subjects.listing),
    route(f"/data{_P}/subjects", GET=subjects.listing, POST=subjects.post),
    # Experiments and their scans
    route("/data/experiments", GET=experiments.listing),
    route(f"/data{_P}/experiments", GET=experiments.listing, POST=experiments.post),
    route(f"/data{_P}{_S}/experiments", GET=experiments.listing, POST=experiments.post),
    *_scans(f"{_P}{_S}{_E}"),
    *_scans(_E),
    *_experiments(f"{_P}{_S}{_E}"),
    *_experiments(f"{_P}{_E}"),
    *_experiments(_E),
    *_subjects(f"{_P}{_S}"),
    *_subjects(_S),
    route(f"/data{_P}", GET=projects.get, PUT=projects.put, DELETE=projects.delete),
    route(f"/data{_P}/{{setting:rest}}", GET=projects.get_setting, PUT=projects.put, DELETE=projects.delete_setting),
)
