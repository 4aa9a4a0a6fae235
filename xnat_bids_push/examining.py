"""Asking a server everything that a push depends on, from the outside inwards; `doctor` judges the answers.

Nothing is written, unless a trial is asked for: then a subject with a name of its own comes, is looked at, and goes.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from xnat_bids_push.archive import Archive, EmptyProject
from xnat_bids_push.client import greet, is_alias
from xnat_bids_push.config import Settings
from xnat_bids_push.connecting import Access, open_settings
from xnat_bids_push.dataset import md5_of
from xnat_bids_push.doctor import Answers, Certificate, Digests, Disk, Probe, Stop
from xnat_bids_push.errors import AccessDenied, ArchiveError, ConfigError, Unavailable
from xnat_bids_push.model import (
    Address,
    BidsFile,
    CreateSubject,
    Deletion,
    Experiment,
    ImportSession,
    Node,
    Parcel,
    Placed,
    Scan,
    SendFile,
)
from xnat_bids_push.table import Table, default_table
from xnat_bids_push.transport import trusted_certificates

_PATIENCE = 15.0
_SELF_SIGNED = (18, 19)
"""OpenSSL's codes for a certificate that nobody else vouches for, and for a chain that ends in such a one."""
_LOOKED_AT = 5
_REASONS = ("requireEventName", "requireChangeJustification", "showChangeJustification")

_Told = TypeVar("_Told")


@dataclass(frozen=True, slots=True)
class Trial:
    """That something is written, and the size of the larger of its two files, in bytes."""

    size: int = 1 << 24


def examine(settings: Settings, project: str, *, table: Table | None = None, trial: Trial | None = None) -> Answers:
    """Ask a server, as the user of the settings, all that a push to a project depends on.

    Args:
        settings: where, and as whom.
        project: its ID.
        table: the mapping that would be used.
        trial: what is written, and removed again; without one, nothing is.
    """
    answers = Answers(
        server=settings.server,
        project=project,
        moment=datetime.now(UTC),
        user=settings.user,
        login_from=settings.login_from,
        alias=is_alias(settings.user),
        login_ends=settings.login_ends,
        needed=_needed(table or default_table()),
    )
    answers = _from_outside(settings, answers) if settings.server else replace(answers, disk=_disk(settings.archive))
    if answers.stop is not Stop.NOWHERE:
        return answers
    try:
        with open_settings(settings, project, Access.PRETEND) as archive:
            return _from_inside(archive, answers, trial)
    except AccessDenied as error:
        return replace(answers, stop=Stop.LOGIN, reason=str(error))
    except Unavailable as error:
        return replace(answers, stop=Stop.SERVER, reason=str(error))


def _needed(table: Table) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, modality in table.modalities.items():
        found[modality.session].append(name)
    return {kind: tuple(names) for kind, names in found.items()}


def _disk(folder: Path) -> Disk | None:
    there = next((one for one in (folder, *folder.parents) if one.is_dir()), None)
    if there is None:
        return None
    usage = shutil.disk_usage(there)
    return Disk(usage.free, usage.total)


# ------------------------------------------------------------------ from the outside


def _from_outside(settings: Settings, answers: Answers) -> Answers:
    """What everybody can see, without a login."""
    answers = replace(answers, certificate=_certificate(settings.server, settings.ca_bundle))
    if answers.certificate is not None and answers.certificate.fault:
        return replace(answers, stop=Stop.TRUST, reason=answers.certificate.fault)
    try:
        greeting = greet(settings.server, ca_bundle=settings.ca_bundle)
    except (ConfigError, ArchiveError) as error:
        return replace(answers, stop=Stop.SERVER, reason=str(error))
    if greeting.server != settings.server:
        certificate = _certificate(greeting.server, settings.ca_bundle)
        answers = replace(answers, server=greeting.server, certificate=certificate)
    return replace(answers, version=greeting.version, date=greeting.date, fronts=greeting.fronts)


def _certificate(server: str, ca_bundle: str) -> Certificate | None:
    """The server's certificate, and whether it is trusted; None if there is none, or it cannot be had."""
    parts = urlsplit(server)
    if parts.scheme != "https" or not parts.hostname:
        return None
    try:
        context = _context(trusted_certificates(ca_bundle))
        with (
            socket.create_connection((parts.hostname, parts.port or 443), _PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as wrapped,
        ):
            known = wrapped.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return Certificate(fault=error.verify_message, self_signed=error.verify_code in _SELF_SIGNED)
    except OSError:
        return None
    return Certificate(datetime.fromtimestamp(ssl.cert_time_to_seconds(str(known["notAfter"])), UTC))


def _context(trusted: str) -> ssl.SSLContext:
    folder = Path(trusted).is_dir()
    return ssl.create_default_context(cafile=None if folder else trusted, capath=trusted if folder else None)


# ------------------------------------------------------------------ from the inside


def _from_inside(archive: Archive, answers: Answers, trial: Trial | None) -> Answers:
    """What the user is told."""
    login = _told(archive.login) or archive.user
    answers = replace(
        answers,
        login=login,
        groups=_told(lambda: archive.groups(login)),
        registered=_told(archive.registered_types),
    )
    if isinstance(archive, EmptyProject):
        return replace(answers, stop=Stop.PROJECT)
    kinds = answers.registered or frozenset()
    kind = next((one for one in answers.needed if one in kinds), "xnat:mrSessionData")
    answers = replace(
        answers,
        rights=_told(lambda: frozenset(_rights(archive, kind))),
        accessibility=_told(lambda: archive.project_setting("accessibility").casefold()),
        quarantine=_told(lambda: archive.project_setting("quarantine_code")),
        checksums=_told(lambda: archive.site_setting("checksums")),
        digests=_told(lambda: _digests(archive)) or Digests(),
        reasons=_told(lambda: {name: archive.site_setting(name) for name in _REASONS}),
    )
    return answers if trial is None else replace(answers, probe=_try(archive, answers.rights, kind, trial))


def _told(ask: Callable[[], _Told]) -> _Told | None:
    """An answer; None if the server does not give it to this user, or does not know the question."""
    try:
        return ask()
    except ArchiveError:
        return None


def _rights(archive: Archive, kind: str) -> Iterator[str]:
    yield from (right for right in ("read", "edit", "create", "delete") if archive.may(right, kind))
    if archive.may_edit_project():
        yield "project"


def _digests(archive: Archive) -> Digests:
    experiments = list(archive.experiments().values())[:_LOOKED_AT]
    holdings = [archive.node_holding(Node()), *archive.holdings(experiments).values()]
    known = [bool(stored.md5) for holding in holdings for stored in holding.files.values()]
    return Digests(sum(known), len(known) - sum(known))


# ------------------------------------------------------------------ the trial


def _try(archive: Archive, rights: frozenset[str] | None, kind: str, trial: Trial) -> Probe:
    """Write a subject, a session and two files, look at them, and remove them."""
    if not {"create", "edit", "delete"} <= (rights or frozenset()):
        return Probe(untried="you may not write here, or could not remove the trial again")
    name = f"bids2xnat-probe-{secrets.token_hex(4)}"
    node = Node(name, f"{name}_TRIAL")
    try:
        limit = _write(archive, node, kind, trial)
        found = Probe(limit=limit, size=trial.size)
    except ArchiveError as error:
        found = Probe(fault=f"the trial failed: {error}")
    finally:
        left = _remove(archive, node)
    return replace(found, left=left)


def _write(archive: Archive, node: Node, kind: str, trial: Trial) -> str:
    """Write and prove a small file; then a large one: why that did not go, or ""."""
    table = default_table()
    small = _placed(node, "trial.txt", b"bids2xnat doctor --probe-write: this may be deleted\n")
    scan = Scan("trial", kind.replace("SessionData", "ScanData"), "trial", "trial")
    archive.create_subject(CreateSubject(node.subject))
    step = ImportSession(Parcel(node, kind, (scan,), (small,)), (small,))
    identifier = archive.import_session(step, table=table, sent={}, watch=_unwatched)
    archive.compute_digests([archive.experiment_path(identifier)])
    holding = archive.holdings([Experiment(identifier, node.experiment, node.subject, kind)])[node.experiment]
    stored = holding.files.get(small.address)
    if stored is None or stored.md5 != md5_of(small.file):
        raise Unavailable("the server lists the file without the right digest" if stored else "the file is not listed")
    try:
        archive.send_file(
            SendFile(_placed(node, "trial.bin", bytes(trial.size))), table=table, sent={}, watch=_unwatched
        )
    except ArchiveError as error:
        return str(error)
    return ""


def _placed(node: Node, name: str, content: bytes) -> Placed:
    return Placed(BidsFile(name, len(content), content), Address(node, "trial", "TRIAL", name), "trial")


def _unwatched(size: int) -> None:
    """Nobody watches a trial's bytes."""


def _remove(archive: Archive, node: Node) -> str:
    """Delete what the trial made; the name of what is still there."""
    for what in (Deletion(node), Deletion(Node(node.subject))):
        _told(partial(archive.delete, what))  # what was not made cannot be deleted; the listing tells
    there = _told(archive.subjects)
    return "" if there is not None and node.subject not in there else f"subject {node.subject}"
