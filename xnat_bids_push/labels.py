"""Labels of subjects and experiments, by templates that can be read backwards. Pure.

A template's words are joined by ``_`` and hold at most one placeholder each, and a BIDS value never holds ``_``: so a
label, split at ``_``, gives the values back. What stands in brackets is written only where there is a session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from xnat_bids_push.errors import MappingError
from xnat_bids_push.names import from_value, to_label

_WORD = re.compile(r"([A-Za-z0-9-]*)(?:\{([a-z]+)\}([A-Za-z0-9-]*))?")
_VALUE = re.compile(r"[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True)
class Portion:
    """What of a dataset an experiment is for, in BIDS words: what its label says.

    Args:
        subject: the folder's name, ``sub-01``.
        session: the folder's name, ``ses-a``; empty if there is none.
        modality: empty if the experiment holds all of its session.
    """

    subject: str
    session: str = ""
    modality: str = ""


@dataclass(frozen=True, slots=True)
class _Word:
    before: str
    key: str = ""
    after: str = ""

    def write(self, values: Mapping[str, str]) -> str:
        return self.before + (to_label(values[self.key]) if self.key else "") + self.after

    def read(self, text: str) -> str | None:
        """The value that the word has in a label; "" for a word without a placeholder, None if it is another word."""
        value = text.removeprefix(self.before).removesuffix(self.after)
        if self.before + value + self.after != text:
            return None
        if not self.key:
            return None if value else ""
        return from_value(value) if _VALUE.fullmatch(value) else None


_Words = tuple[_Word, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """How labels are made. Make one with `parse_template`.

    Args:
        text: as it was written.
        whole: the words where there is a session.
        bare: the words where there is none.
    """

    text: str
    whole: _Words
    bare: _Words

    def __str__(self) -> str:
        return self.text

    def write(self, **values: str) -> str:
        """The label for some values.

        >>> parse_template("{subject}[_{session}]_{modality}").write(subject="01", session="", modality="MR")
        '01_MR'
        """
        return "_".join(word.write(values) for word in (self.whole if values.get("session") else self.bare))

    def read(self, label: str) -> dict[str, str] | None:
        """The values in a label; None if it is not one of this template's.

        >>> parse_template("sub-{subject}[_ses-{session}]").read("sub-4S-1_ses-b")
        {'subject': '4S+1', 'session': 'b'}
        """
        texts = label.split("_")
        words = next((one for one in (self.whole, self.bare) if len(one) == len(texts)), ())
        values: dict[str, str] = {}
        for word, text in zip(words, texts, strict=False):
            value = word.read(text)
            if value is None:
                return None
            values |= {word.key: value} if word.key else {}
        return values if words else None

    @property
    def keys(self) -> frozenset[str]:
        """The placeholders."""
        return frozenset(word.key for word in self.whole if word.key)

    def without_modality(self) -> Template:
        """The same template, but for the word with the modality."""
        rows = [tuple(word for word in words if word.key != "modality") for words in (self.whole, self.bare)]
        return Template(f"{self.text} without {{modality}}", *rows)


def parse_template(text: str) -> Template:
    """A template from its text.

    Raises:
        MappingError: a label could not be read backwards, or XNAT would not take it; with the reason.
    """
    before, inside, after = _around_brackets(text)
    _check_brackets(before, inside, after, text)
    whole, bare = _words(before + inside + after, text), _words(before + after, text)
    for number, key in ((sum(word.key == key for word in whole), key) for key in ("subject", "session", "modality")):
        if number > 1:
            raise _fault(text, f"{{{key}}} may stand there once only")
    if "subject" not in {word.key for word in bare}:
        raise _fault(text, "{subject} must be in it, outside of brackets, or two subjects would share a label")
    if "session" in {word.key for word in bare}:
        raise _fault(text, "{session} must stand in brackets with its words, as in [_ses-{session}]: there may be none")
    if any(word.key == "modality" for word in whole) and not any(word.key == "modality" for word in bare):
        raise _fault(text, "{modality} must stand outside of the brackets, or two experiments would share a label")
    if any(_looks_like_an_id(words) for words in (whole, bare)):
        raise _fault(text, "XNAT could take such a label for one of its own IDs, which look like XNAT_S00001")
    return Template(text, whole, bare)


def _fault(text: str, reason: str) -> MappingError:
    return MappingError(f"{text!r}: {reason}")


def _around_brackets(text: str) -> tuple[str, str, str]:
    before, opened, rest = text.partition("[")
    inside, closed, after = rest.partition("]")
    if bool(opened) != bool(closed) or any(sign in before + inside + after for sign in "[]"):
        raise _fault(text, "there may be one pair of brackets, [ before ]")
    return before, inside, after


def _words(bare: str, text: str) -> _Words:
    words = []
    for part in bare.split("_"):
        match = _WORD.fullmatch(part)
        if not part:
            raise _fault(text, "between two _, and at both ends, there must be a word")
        if part.count("{") > 1:
            raise _fault(text, f"{part!r} has two placeholders: put _ between them, or nobody could tell them apart")
        if match is None:
            raise _fault(text, f"{part!r}: beside placeholders, a label holds letters, digits, _ and - only")
        if match[2] not in (None, "subject", "session", "modality"):
            raise _fault(text, f"{{{match[2]}}} is no placeholder: {{subject}}, {{session}} and {{modality}} are")
        words.append(_Word(match[1], match[2] or "", match[3] or ""))
    return tuple(words)


def _check_brackets(before: str, inside: str, after: str, text: str) -> None:
    """Whole words in brackets make the number of words tell whether there is a session."""
    if not inside:
        if "[" in text:
            raise _fault(text, "there is nothing between the brackets")
        return
    if "{session}" not in inside:
        raise _fault(text, "{session} must stand in the brackets: they hold what is written only with a session")
    leads = inside.startswith("_") and after[:1] in ("", "_")
    follows = inside.endswith("_") and before[-1:] in ("", "_")
    if not (leads or follows):
        raise _fault(text, "the brackets must hold whole words with one _ at their side, as in [_ses-{session}]")


def _looks_like_an_id(words: _Words) -> bool:
    """Whether labels can be like ``XNAT_S00001``: XNAT looks for an ID of the whole site before a label."""
    return len(words) == 2 and words[1].before in ("S", "E") and bool(words[1].key) and not words[1].after


# ------------------------------------------------------------------ both labels of a table


@dataclass(frozen=True, slots=True)
class Labels:
    """The templates of a table.

    Args:
        other: the experiments' template in the other way of dividing a session: with the modality if `experiment` has
            none, without if it has one; None where that is not known.
        modalities: those that a label may name.
    """

    subject: Template
    experiment: Template
    other: Template | None
    modalities: frozenset[str]

    @property
    def one_per_session(self) -> bool:
        """Whether one experiment holds all modalities of a session."""
        return "modality" not in self.experiment.keys

    def subject_label(self, folder: str) -> str:
        """The label of a subject by its folder's name."""
        return self.subject.write(subject=folder.removeprefix("sub-"))

    def subject_folder(self, label: str) -> str | None:
        """The name of the folder of a subject by its label; None if the label is not one of ours."""
        values = self.subject.read(label)
        return f"sub-{values['subject']}" if values else None

    def experiment_label(self, portion: Portion, *, other: bool = False) -> str:
        """The label of an experiment; with `other`, in the other way of dividing a session."""
        template = self.other if other and self.other else self.experiment
        subject, session = portion.subject.removeprefix("sub-"), portion.session.removeprefix("ses-")
        return template.write(subject=subject, session=session, modality=portion.modality)

    def portion(self, label: str) -> Portion | None:
        """What an experiment's label says; None if it is not one of ours."""
        found = self._read(self.experiment, label)
        if found is None and self.other is not None and self._are_apart():
            found = self._read(self.other, label)
        return found

    def _read(self, template: Template, label: str) -> Portion | None:
        values = template.read(label)
        if values is None or values.get("modality", next(iter(self.modalities))) not in self.modalities:
            return None
        session = f"ses-{values['session']}" if "session" in values else ""
        return Portion(f"sub-{values['subject']}", session, values.get("modality", ""))

    def _are_apart(self) -> bool:
        """Whether no label can be one of both templates: only then is a label of the other one ours to read."""
        own, other = ({one.whole, one.bare} for one in (self.experiment, self.other or self.experiment))
        pairs = ((one, two) for one in own for two in other if len(one) == len(two))
        return all(any(map(self._differ, one, two)) for one, two in pairs)

    def _differ(self, one: _Word, two: _Word) -> bool:
        """Whether no text can be both words, judged by the one that has few: a fixed one, or the modality."""
        few, many = (one, two) if one.key in ("", "modality") else (two, one)
        if few.key not in ("", "modality"):
            return False
        return all(many.read(few.write({"modality": modality})) is None for modality in self.modalities)
