"""A run's work done by the workers of a Dask cluster, share by share. The door to distributed.

What a worker is told holds no secret. It finds its login as every bids2xnat does: in its own environment, in netrc, or
in the file of ``--config``, which must be where it is on this machine. So must the dataset.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from xnat_bids_push.archive import Archive
from xnat_bids_push.config import resolve
from xnat_bids_push.connecting import open_settings
from xnat_bids_push.dataset import Dataset
from xnat_bids_push.errors import ConfigError, DatasetError, Distressed, Unavailable
from xnat_bids_push.model import Issue, Outcome, Severity
from xnat_bids_push.pushing import Work
from xnat_bids_push.running import Listing, Run
from xnat_bids_push.shares import Some

if TYPE_CHECKING:
    from distributed import Client, Future

SUBJECTS = 25
"""Subjects in a share at most: a worker that dies costs no more than what it does with one share."""

SHARES = 4
"""Shares for each thread of the cluster at least, if there are subjects enough: nobody waits long for the last one."""

_PACKAGE = "bids2xnat"

_PATIENCE = 30
"""Seconds in which a scheduler must answer."""


# ------------------------------------------------------------------ what a worker is told, and tells


@dataclass(frozen=True, slots=True)
class Login:
    """Where a worker logs in, and as whom; the password is its own affair, and so is an empty user."""

    server: str
    user: str
    project: str
    config: Path | None = None
    ca_bundle: str = ""
    timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class Errand:
    """One share of a run's work.

    Args:
        run: which run: a worker logs in once for it.
        login: where to.
        dataset: the subjects of the share, and no others.
        work: what is done with them.
        there: what the project holds of them.
    """

    run: str
    login: Login
    dataset: Dataset = field(repr=False)
    work: Work = field(repr=False)
    there: Listing = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """What came of an errand."""

    outcomes: tuple[Outcome, ...]
    issues: tuple[Issue, ...]
    survived: Counter[str]
    stopped: Distressed | None


def carry_out(errand: Errand) -> Account:
    """Do what a worker is told. Whatever an earlier attempt left is just what the first plan finds.

    Raises:
        DatasetError: the dataset is not here.
        ConfigError: there is no login here.
        ArchiveError: the server cannot be asked what it has.
    """
    _check_folders(errand.dataset)
    archive = _opened(errand)
    before = Counter(archive.survived)
    run = errand.work.make(errand.dataset, archive, there=errand.there)
    outcomes = tuple(chain.from_iterable(errand.work.on(errand.dataset, run)))
    return Account(outcomes, tuple(run.issues()), run.survived + Counter(archive.survived) - before, run.stopped)


def _check_folders(dataset: Dataset) -> None:
    """A folder that cannot be seen here must not be taken for an empty one."""
    folders = chain.from_iterable(dataset.folders.values())
    lost = [folder for folder in folders if not (dataset.root / folder).is_dir()]
    if lost:
        where = f"is not on {socket.gethostname()}: a dataset must be at the same place on all machines of a cluster"
        raise DatasetError([Issue(Severity.ERROR, str(dataset.root / lost[0]), where)])


_lock = threading.Lock()
_logged_in: dict[str, tuple[ExitStack, Archive]] = {}
"""A worker's logins: one for each run, whatever the number of its threads and errands."""


def _opened(errand: Errand) -> Archive:
    login = errand.login
    with _lock:
        if errand.run not in _logged_in:
            try:
                settings = resolve(
                    server=login.server,
                    user=login.user,
                    config=login.config,
                    ca_bundle=Path(login.ca_bundle) if login.ca_bundle else None,
                    timeout=login.timeout,
                )
            except ConfigError as error:
                raise ConfigError(f"a worker on {socket.gethostname()} says: {error}") from error
            stack = ExitStack()
            archive = stack.enter_context(open_settings(settings, login.project))
            _logged_in[errand.run] = stack, archive
        return _logged_in[errand.run][1]


def _log_out(run: str) -> None:
    """End a run on a worker."""
    with _lock:
        stack, _ = _logged_in.pop(run, (ExitStack(), None))
    stack.close()


# ------------------------------------------------------------------ who tells them


class Cluster:
    """The workers of a cluster. Give it to `push` or `verify`; make one with `open_cluster`."""

    def __init__(self, client: Client, login: Login) -> None:
        self._client = client
        self._login = login
        self._run = secrets.token_hex(4)

    @property
    def threads(self) -> int:
        """How many errands are done at a time, by the workers that are there at this moment."""
        return sum(self._client.nthreads().values())

    def outcomes(self, dataset: Dataset, run: Run, work: Work) -> Iterator[Outcome]:
        """What comes of a run's work, in the order in which it is done.

        What is no subject's is done here, and first: who may not write that is to know before anybody writes.
        """
        from distributed import as_completed

        if dataset.share.has(""):
            yield from chain.from_iterable(work.on(replace(dataset, share=Some({""})), run))
        errands = [self._errand(share, dataset, run, work) for share in shares_for(dataset.subjects, self.threads)]
        waiting = {
            self._client.submit(carry_out, one, key=f"bids2xnat-{self._run}-{number}"): one.dataset
            for number, one in enumerate(errands)
        }
        del errands
        try:
            for future in as_completed(list(waiting), loop=self._client.loop):
                part = waiting.pop(future)
                yield from _told(future, part, run, work)
                if run.stopped is not None:
                    break
            for part in waiting.values():
                yield from chain.from_iterable(work.on(part, run))  # which asks nothing any more
        finally:
            self._client.cancel(list(waiting))

    def _errand(self, share: Some, dataset: Dataset, run: Run, work: Work) -> Errand:
        folders = {subject: dataset.folders[subject] for subject in sorted(share.subjects)}
        part = replace(dataset, folders=folders, left_out=(), issues=(), share=share)
        labels = {dataset.table.naming.subject_label(subject) for subject in folders}
        return Errand(self._run, self._login, part, work, run.listing(labels))

    def end(self) -> None:
        """Have all workers log out."""
        with suppress(OSError):
            self._client.run(_log_out, self._run, on_error="ignore")


def shares_for(subjects: Sequence[str], threads: int) -> Iterator[Some]:
    """Neighbours together: shares that are as small as they may be, so that there is work for everybody."""
    size = min(SUBJECTS, max(1, len(subjects) // (SHARES * max(threads, 1))))
    for first in range(0, len(subjects), size):
        yield Some(frozenset(subjects[first : first + size]))


def _told(future: Future[Account], part: Dataset, run: Run, work: Work) -> Iterator[Outcome]:
    """What a worker has to tell. If none lives long enough for that, that is told of all that is in the share."""
    from distributed import KilledWorker

    try:
        account = future.result()
    except (KilledWorker, CancelledError):
        words = "the workers of the cluster that were to do this ended: look at their logs, and at their memory"
        yield from work.given_up(part, run, Unavailable(words))
        return
    finally:
        future.release()
    run.hear(account.issues, account.survived, sum(one.sent_bytes for one in account.outcomes))
    run.stopped = account.stopped
    yield from account.outcomes


@contextmanager
def open_cluster(address: str, login: Login) -> Iterator[Cluster]:
    """A cluster that runs already.

    Args:
        address: of its scheduler, ``tcp://host:8786``, or the path of the file that the scheduler wrote.
        login: where its workers log in.

    Raises:
        ConfigError: nobody answers there, Dask is not installed, or the workers are of another version.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError("for work on a cluster, install: pip install 'bids2xnat[dask]'") from error
    where = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        client = Client(**where, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--executor: there is no Dask scheduler at {address}: {error}") from error
    with client:
        _check_versions(client)
        cluster = Cluster(client, login)
        try:
            yield cluster
        finally:
            cluster.end()


def _check_versions(client: Client) -> None:
    """Workers of another version would send to other places, or tell in other words."""
    own = version(_PACKAGE)
    told: Mapping[str, object] = client.run(version, _PACKAGE, on_error="return")
    for worker, found in told.items():
        if found != own:
            has = f"{_PACKAGE} {found}" if isinstance(found, str) else f"no {_PACKAGE}"
            raise ConfigError(f"the worker {worker} has {has}: install {own} there, with all that it needs")
