"""What of a dataset is taken: filters choose recordings, and the rest goes with what it belongs to. Pure.

A filter is a window, the same over the dataset and over the archive: what lies outside is neither sent, nor compared,
nor removed. Addresses do not depend on it: everything of a subject is placed first, then chosen.

::

    a recording                             goes if the filters take it
    what has its scan's address             goes with it
    what describes a datatype or a session  goes if anything there goes, or if the filters ask for nothing finer
    a subject's own files                   go if anything of the subject goes
    a subject's derivatives and sourcedata  go by subject and session alone
    the project's own files                 always go
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from xnat_bids_push.errors import ConfigError
from xnat_bids_push.mapping import Placement, Spot, folder_of, path_of, scan_name, sense, spot
from xnat_bids_push.model import Address, Holding, Issue, Node, Origin, Parcel, Placed
from xnat_bids_push.table import Table

Known = Mapping[str, Set[str]]
"""What is known of something, by an entity's short key or ``datatype``, ``suffix``, ``extension``: its values there."""

_NUMBERS = frozenset({"run"})
"""Entities whose values are numbers for pybids: 1 is 01."""

_WHO = frozenset({"sub", "ses"})
_BEYOND_ENTITIES = ("datatype", "suffix", "extension")
_OPTIONS = {"sub": "--participant-label", "ses": "--session-label", "datatype": "--datatype", "suffix": "--suffix"}


# ------------------------------------------------------------------ filters


@dataclass(frozen=True, slots=True)
class Condition:
    """What a filter asks of one entity: one of the values, or that there is none, or that there is any.

    Args:
        key: the entity's short key, or ``datatype``, ``suffix`` or ``extension``.
    """

    key: str
    values: frozenset[str] = frozenset()
    absent: bool = False
    present: bool = False

    def is_met(self, found: Set[str]) -> bool:
        """Whether the values that something has for the key are as asked.

        >>> Condition("acq", frozenset({"high"}), absent=True).is_met(set())
        True
        """
        return not self.values.isdisjoint(found) or (self.present if found else self.absent)


Query = tuple[Condition, ...]
"""Conditions that must all be met."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which recordings are taken: those that meet all conditions, and one of the queries if there are any.

    Make one with `Choice.of`; an empty one takes everything.
    """

    conditions: Query = ()
    queries: tuple[Query, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        participants: Iterable[str] = (),
        sessions: Iterable[str] = (),
        datatypes: Iterable[str] = (),
        suffixes: Iterable[str] = (),
        queries: Iterable[Query] = (),
    ) -> Choice:
        """A choice of labels (with or without ``sub-`` and ``ses-``), datatypes, suffixes and a filter file's queries.

        >>> Choice.of(participants=["sub-01"]) == Choice.of(participants=["01"])
        True
        """
        asked = {"sub": participants, "ses": sessions, "datatype": datatypes, "suffix": suffixes}
        values = {key: frozenset(_plain(key, one) for one in words) for key, words in asked.items()}
        return cls(tuple(Condition(key, found) for key, found in values.items() if found), tuple(queries))

    def __bool__(self) -> bool:
        """Whether anything is left out at all."""
        return bool(self.conditions or self.queries)

    def asked(self, key: str) -> tuple[str, ...]:
        """The values that the options name for a key."""
        return tuple(sorted(value for one in self.conditions if one.key == key for value in one.values))

    def lacking(self, there: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """What was asked for by name and is not there, with what there is.

        Args:
            there: folders of subjects and sessions, and datatypes, by key.
        """
        for key, names in there.items():
            known = {_plain(key, name): name for name in names}
            for value in self.asked(key):
                if value not in known:
                    word = f"{key}-{value}" if key in _WHO else value
                    yield f"there is no {word} ({_OPTIONS[key]}); there {_are(names)}"

    @property
    def options(self) -> str:
        """The options that it was made of, for people."""
        words = [_OPTIONS[one.key] for one in self.conditions] + (["--bids-filter-file"] if self.queries else [])
        return ", ".join(words)

    def takes(self, recording: Known) -> bool:
        """Whether a recording is taken, of which everything is known."""
        return self._holds(lambda one: one.is_met(recording.get(one.key, frozenset())))

    def takes_all_at(self, place: Known) -> bool:
        """Whether all that lies at a place is taken, whatever it is."""
        return self._holds(lambda one: one.key in place and one.is_met(place[one.key]))

    def may_take_at(self, place: Known) -> bool:
        """Whether anything that lies at a place can be taken."""
        return self._holds(lambda one: one.key not in place or one.is_met(place[one.key]))

    def takes_by_owner(self, place: Known) -> bool:
        """Whether subject and session, if that is all that counts, are taken."""
        return self._holds(lambda one: one.key not in _WHO or (one.key in place and one.is_met(place[one.key])))

    def may_take(self, path: str, table: Table) -> bool:
        """Whether what lies at a root-relative path can be taken."""
        place = Place.of(spot(path, table))
        return place is None or (not place.owned and self.may_take_at(place.known)) or self._may_own(place)

    def may_take_subject(self, folder: str) -> bool:
        """Whether anything of a subject can be taken."""
        return self.may_take_at(Place(folder).known)

    def _may_own(self, place: Place) -> bool:
        return place.owned and (not place.session or self.takes_by_owner(place.known))

    def _holds(self, met: Callable[[Condition], bool]) -> bool:
        return all(map(met, self.conditions)) and (
            not self.queries or any(all(map(met, query)) for query in self.queries)
        )


EVERYTHING = Choice()
"""The choice that leaves nothing out."""


def _are(names: Sequence[str], *, most: int = 20) -> str:
    """What there is, for people.

    >>> _are(["a"]), _are([]), _are(["a", "b", "c"], most=2)
    ('is a', 'is none', 'are a, b, … (3)')
    """
    if len(names) < 2:
        return f"is {''.join(names) or 'none'}"
    return f"are {', '.join(names[:most])}" + (f", … ({len(names):,})" if len(names) > most else "")


def _plain(key: str, value: str) -> str:
    """A value as it is compared: a label without its prefix, a number without padding, an extension with its dot."""
    if key in _WHO:
        return value.removeprefix(f"{key}-")
    if key in _NUMBERS and value.isdecimal():
        return str(int(value))
    return f".{value.removeprefix('.')}" if key == "extension" else value


def nothing_taken(choice: Choice, recordings: Iterable[tuple[str, str]]) -> str:
    """That a choice takes nothing, and of what.

    Args:
        choice: the filters.
        recordings: datatype and suffix of all that there are.
    """
    kinds: dict[str, list[str]] = {}
    for datatype, suffix in sorted(set(recordings)):
        kinds.setdefault(datatype, []).append(suffix)
    there = [f"{datatype} ({', '.join(suffixes)})" for datatype, suffixes in kinds.items()]
    return f"nothing is taken ({choice.options}): of recordings there {_are(there)}"


# ------------------------------------------------------------------ filter files


def read_filter(text: str, vocabulary: Mapping[str, str]) -> tuple[Query, ...]:
    """The queries of a filter file as fMRIPrep reads it: name → entity → value, values, null (none) or "*" (any).

    Args:
        text: JSON.
        vocabulary: BIDS' entities, short key → pybids' name.

    Raises:
        ConfigError: with all that is wrong with the file.

    >>> read_filter('{"bold": {"run": [1, null]}}', {"run": "run"})
    ((Condition(key='run', values=frozenset({'1'}), absent=True, present=False),),)
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the filter file is not JSON: {error}") from error
    keys = {name: key for key, name in vocabulary.items() if key != "split"} | {word: word for word in _BEYOND_ENTITIES}
    faults = list(_filter_faults(content, keys, vocabulary))
    if faults:
        raise ConfigError("the filter file is wrong:\n" + "\n".join(faults))
    return tuple(
        tuple(_condition(keys[name], value if isinstance(value, list) else [value]) for name, value in query.items())
        for query in content.values()
    )


def _filter_faults(content: object, keys: Mapping[str, str], vocabulary: Mapping[str, str]) -> Iterator[str]:
    if not (isinstance(content, dict) and content):
        yield 'it must hold at least one query: {"bold": {"datatype": "func"}}'
        return
    for title, query in content.items():
        if not isinstance(query, dict):
            yield f'{title}: a query is an object of entities: {{"datatype": "func"}}'
            continue
        for name, value in query.items():
            if name == "split":
                yield f"{title}: the parts of a split recording go together, and cannot be chosen by split"
            elif name not in keys:
                known = f"known are {', '.join(sorted(keys))}"
                hint = f"pybids calls it {vocabulary[name]}" if name in vocabulary else known
                yield f"{title}: there is no entity {name!r}; {hint}"
            elif not all(_is_value(one) for one in (value if isinstance(value, list) else [value])):
                yield f'{title}: {name}: a value is a text, a whole number, null, "*", or a list of these'


def _is_value(value: object) -> bool:
    return value is None or (isinstance(value, str | int) and not isinstance(value, bool))


def _condition(key: str, values: Sequence[str | int | None]) -> Condition:
    words = frozenset(_plain(key, str(value)) for value in values if value not in (None, "*"))
    return Condition(key, words, absent=None in values, present="*" in values)


# ------------------------------------------------------------------ places


@dataclass(frozen=True, slots=True)
class Place:
    """Where things lie that are no recording's: in a datatype's folder, a session's, or a subject's own.

    Args:
        owned: in a subject's part of ``derivatives`` or ``sourcedata``.
    """

    subject: str
    session: str = ""
    datatype: str = ""
    owned: bool = False

    @classmethod
    def of(cls, where: Spot) -> Place | None:
        """The place of a path; None for what is no subject's."""
        return cls(where.subject, where.session, where.datatype, bool(where.tree)) if where.subject else None

    @property
    def known(self) -> dict[str, Set[str]]:
        """What is known of all that lies here. In a datatype's folder it is known too that there is no session."""
        found: dict[str, Set[str]] = {"sub": {self.subject.removeprefix("sub-")}}
        if self.session or self.datatype:
            found["ses"] = {self.session.removeprefix("ses-")} - {""}
        if self.datatype:
            found["datatype"] = {self.datatype}
        return found

    @property
    def around(self) -> tuple[Place, ...]:
        """The place itself, and those it lies in."""
        own = Place(self.subject)
        return (self, own) if self.owned else (self, Place(self.subject, self.session), own)


@dataclass(frozen=True, slots=True)
class Window:
    """What a choice shows of some files: scans, and places for what is of no scan."""

    table: Table
    scans: frozenset[tuple[Node, str]]
    places: frozenset[Place]

    def shows(self, address: Address, path: str) -> bool:
        """Whether what lives at an address, and is the dataset's `path`, is taken."""
        if address.scan:
            return (address.node, address.scan) in self.scans
        return self.shows_path(path)

    def shows_path(self, path: str) -> bool:
        """Whether what lies at a path, and is no recording's, is taken."""
        return self.shows_place(Place.of(spot(path, self.table)))

    def shows_place(self, place: Place | None) -> bool:
        """Whether what lies at a place, and is no recording's, is taken."""
        if place is None or place in self.places:
            return True
        return place.owned and not place.session and Place(place.subject) in self.places


def look(files: Iterable[tuple[Address, str]], choice: Choice, table: Table, *, subject: str = "") -> Window:
    """What a choice takes of some files, which should be all that there are of a subject.

    Args:
        files: address and path of each.
        choice: the filters.
        table: the mapping.
        subject: the subject's folder, where it may have no files at all.
    """
    recordings: dict[tuple[Node, str], tuple[Place, dict[str, Set[str]]]] = {}
    places = {Place(subject)} if subject else set()
    for address, path in files:
        where = spot(path, table)
        place = Place.of(where)
        if place is not None:
            places.update(place.around)
            if address.scan:
                _, known = recordings.setdefault((address.node, address.scan), (place, _known(place, address.scan)))
                known["extension"] |= _extension(where, table)
    taken = {key: place for key, (place, known) in recordings.items() if choice.takes(known)}
    whole = {place for place in places if _is_whole(place, choice)}
    around = frozenset(wider for place in whole.union(taken.values()) for wider in place.around)
    return Window(table, frozenset(taken), around)


def _is_whole(place: Place, choice: Choice) -> bool:
    return choice.takes_by_owner(place.known) if place.owned else choice.takes_all_at(place.known)


def _known(place: Place, scan: str) -> dict[str, Set[str]]:
    """What a scan's place and ID say of its recording."""
    name = scan_name(scan)
    entities = {key: {_plain(key, value)} for key, value in name.entities} | {"suffix": {name.suffix}} if name else {}
    return {**entities, **place.known, "extension": set()}


def _extension(where: Spot, table: Table) -> Set[str]:
    says = sense(where, table)
    return {says.extension} if says is not None and says.resource else set()


# ------------------------------------------------------------------ choosing


@dataclass(frozen=True, slots=True)
class Chosen:
    """What of a part is taken.

    Args:
        parcels: those of which anything is taken.
        issues: of the names that can matter.
        unchosen: how many files are not taken.
        recordings: datatype and suffix of all that there are, taken or not.
        absent: paths that would be taken, and have no content here.
    """

    parcels: tuple[Parcel, ...]
    issues: tuple[Issue, ...] = ()
    unchosen: int = 0
    recordings: frozenset[tuple[str, str]] = frozenset()
    absent: tuple[str, ...] = ()


def choose(placement: Placement, choice: Choice, table: Table, *, subject: str = "") -> Chosen:
    """What a choice takes of a part that has been placed.

    Args:
        placement: where everything of the part lives.
        choice: the filters.
        table: the mapping.
        subject: whose part it is.
    """
    if not choice:
        return _present(Chosen(placement.parcels, placement.issues))
    files = [(one.address, one.file.path) for parcel in placement.parcels for one in _own(parcel)]
    window = look(files, choice, table, subject=subject)
    hidden = {address: path for address, path in files if not window.shows(address, path)}
    shared = _shared(hidden.values(), choice, table)
    parcels = (_narrowed(parcel, window, hidden, shared) for parcel in placement.parcels)
    unchosen = set(hidden.values())
    chosen = Chosen(
        tuple(parcel for parcel in parcels if parcel.files),
        tuple(issue for issue in placement.issues if issue.path not in unchosen),
        len(hidden),
        frozenset(kind_of_scan(scan.id) for parcel in placement.parcels for scan in parcel.scans),
    )
    return _present(chosen)


def _present(chosen: Chosen) -> Chosen:
    """Set aside what has no content here. It keeps its address, and what is there of it is not spoken of."""
    absent = tuple(placed.file.path for parcel in chosen.parcels for placed in parcel.files if placed.file.absent)
    if not absent:
        return chosen
    parcels = (_without_absent(parcel) for parcel in chosen.parcels)
    return replace(chosen, parcels=tuple(filter(None, parcels)), absent=absent)


def _without_absent(parcel: Parcel) -> Parcel | None:
    """What is here of a parcel; None if that is nothing of the dataset's."""
    files = tuple(placed for placed in parcel.files if not placed.file.absent)
    absent = frozenset(placed.address for placed in parcel.files if placed.file.absent)
    scans = {placed.address.scan for placed in files}
    if absent and all(placed.origin is not Origin.DATASET for placed in files):
        return None
    return replace(
        parcel,
        scans=tuple(scan for scan in parcel.scans if scan.id in scans),
        files=files,
        aside=parcel.aside | absent,
        shared=parcel.shared | {placed.address for placed in files if not placed.address.scan},
    )


def _own(parcel: Parcel) -> Iterator[Placed]:
    return (placed for placed in parcel.files if placed.origin is Origin.DATASET)


def kind_of_scan(scan: str) -> tuple[str, str]:
    """Datatype and suffix of a scan's recording.

    >>> kind_of_scan("func_task-rest_bold")
    ('func', 'bold')
    """
    name = scan_name(scan)
    return scan.partition("_")[0], name.suffix if name else ""


def _shared(hidden: Iterable[str], choice: Choice, table: Table) -> Callable[[Place | None], bool]:
    """Tells of a place whether what lies there belongs to things that are not taken, too."""
    spots = (Place.of(spot(path, table)) for path in hidden)
    partial = {wider for place in spots if place is not None for wider in place.around}

    def is_shared(place: Place | None) -> bool:
        return place is None or place in partial or (place.owned and not choice.takes_all_at(place.known))

    return is_shared


def _narrowed(
    parcel: Parcel, window: Window, hidden: Mapping[Address, str], is_shared: Callable[[Place | None], bool]
) -> Parcel:
    """A parcel without what is not taken. What the push makes for a node goes if anything of the node goes."""
    own = [placed for placed in _own(parcel) if placed.address not in hidden]
    folder = folder_of(parcel.node, window.table) or ""
    taken = bool(own) or (not parcel.node.experiment and window.shows_place(_owner(folder)))
    made = [placed for placed in parcel.files if placed.origin is not Origin.DATASET] if taken else []
    aside = frozenset(placed.address for placed in _own(parcel) if placed.address in hidden)
    shared = {one.address for one in own if not one.address.scan and is_shared(_place(one.file.path, window.table))}
    if aside or (not parcel.node.experiment and is_shared(_owner(folder))):
        shared |= {placed.address for placed in made}
    scans = {placed.address.scan for placed in own}
    return replace(
        parcel,
        scans=tuple(scan for scan in parcel.scans if scan.id in scans),
        files=tuple(sorted([*own, *made], key=lambda one: one.address)),
        aside=aside,
        shared=frozenset(shared),
    )


def _place(path: str, table: Table) -> Place | None:
    return Place.of(spot(path, table))


def _owner(folder: str) -> Place | None:
    return Place(folder.partition("/")[0]) if folder else None


def narrow(holding: Holding, parcel: Parcel, choice: Choice, table: Table) -> Holding:
    """What the server has at a node, without what is ours and not taken: it is not spoken of."""
    if not choice and not parcel.aside:
        return holding
    taken = {placed.address: placed.file.path for placed in parcel.files}
    paths = {address: path_of(address, table) for address in holding.files}
    others = [(address, path) for address, path in paths.items() if path is not None and address not in taken]
    own = [(placed.address, placed.file.path) for placed in _own(parcel)]
    window = look([*own, *others], choice, table)
    places = frozenset(wider for _, path in own for wider in _around(path, table))
    window = replace(window, places=window.places | places)
    hidden = {address for address, path in others if address in parcel.aside or not window.shows(address, path)}
    return replace(holding, files={one: stored for one, stored in holding.files.items() if one not in hidden})


def _around(path: str, table: Table) -> tuple[Place, ...]:
    place = _place(path, table)
    return place.around if place is not None else ()
