"""Directives that show what the code says, so that no page has to repeat it.

``cli-help``: what ``bids2xnat COMMAND --help`` prints.  ``mapping-table``: a table of ``mapping.toml``.
``mapping-schema``: what ``mapping.schema.json`` says of a mapping file.
``privacy-table``: the kinds and words of ``privacy.toml``.
``receipt-schema``: what ``receipt.schema.json`` says of a receipt.
``coverage-table``: what becomes of each public dataset, from ``coverage.json`` beside the page.
``scale-table``: what pushes of several sizes cost, and what a model says, from ``scale.json`` beside the page.
``bench-table``: the same beside other tools, from ``bench.json`` beside the page.
``pybids-table``: where we read otherwise than pybids, from ``pybids.toml`` beside the page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

Row = tuple[str, ...]


class CliHelp(SphinxDirective):
    """The help of one command; without an argument, that of the program."""

    optional_arguments = 2  # config show

    def run(self) -> list[nodes.Node]:
        """The help as a block of text."""
        program = "import sys; sys.argv[0] = 'bids2xnat'; from xnat_bids_push.cli import main; main()"
        answer = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-c", program, *self.arguments, "--help"],
            capture_output=True,
            check=True,
            env=os.environ | {"COLUMNS": "96", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
        )
        text = "\n".join(line.rstrip() for line in answer.stdout.splitlines()).strip("\n")
        block = nodes.literal_block(text, text)
        block["language"] = "text"
        return [block]


class MappingTable(SphinxDirective):
    """One of the tables of mapping.toml, for people."""

    required_arguments = 1
    tables: ClassVar[dict[str, Callable[[Mapping[str, Any]], Iterator[Row]]]] = {}

    def run(self) -> list[nodes.Node]:
        """The table, written as Markdown and read as the rest of the page is."""
        return _table(self, self.tables[self.arguments[0]](_mapping()), source="mapping.toml")


def _mapping() -> dict[str, Any]:
    return tomllib.loads(resources.files("xnat_bids_push").joinpath("mapping.toml").read_text("utf-8"))


class PrivacyTable(SphinxDirective):
    """The kinds of privacy.toml, and the keys and columns that they stand under."""

    def run(self) -> list[nodes.Node]:
        """The table, written as Markdown and read as the rest of the page is."""
        text = resources.files("xnat_bids_push").joinpath("privacy.toml").read_text("utf-8")
        return _table(self, _privacy(tomllib.loads(text)), source="privacy.toml")


def _privacy(rules: Mapping[str, Any]) -> Iterator[Row]:
    yield "kind", "is", "grade", "keys of sidecars", "columns of tables"
    for name, row in rules["kinds"].items():
        words = (_code(*rules[table].get(name, [])) for table in ("sidecar", "columns"))
        yield _code(name), row["says"], row["grade"], *words


class PageTable(SphinxDirective):
    """A table made from a data file beside the page."""

    file: ClassVar[str]

    def run(self) -> list[nodes.Node]:
        """The table, and a note that the page is made anew when the file changes."""
        path = Path(self.get_source_info()[0]).with_name(self.file)
        self.env.note_dependency(str(path))
        return _table(self, self.rows(path.read_text("utf-8")), source=path.name)

    def rows(self, text: str) -> Iterator[Row]:
        """The header and the rows."""
        raise NotImplementedError


class CoverageTable(PageTable):
    """What becomes of each public dataset, and of all of them."""

    file = "coverage.json"

    def rows(self, text: str) -> Iterator[Row]:
        """One row for each dataset, and their sum."""
        return _coverage(json.loads(text))


class PybidsTable(PageTable):
    """Where our reading of names or sidecars differs from that of pybids, and why."""

    required_arguments = 1
    file = "pybids.toml"

    def rows(self, text: str) -> Iterator[Row]:
        """One row for each known difference."""
        yield "differs", "for example in", "because"
        for row in tomllib.loads(text)[self.arguments[0]]:
            keys = row.get("keys") or {key for values in row["sidecars"].values() for key in values}
            yield _code(*keys), _code(row["example"]), row["reason"]


class ScaleTable(PageTable):
    """What pushes cost: as it was measured, the model, or the model beside one more measurement."""

    required_arguments = 1
    file = "scale.json"

    def rows(self, text: str) -> Iterator[Row]:
        """The part of the file that the argument names."""
        content = json.loads(text)
        if self.arguments[0] == "model":
            return _model(content["model"])
        if self.arguments[0] == "memory":
            return _memory(content["memory"])
        if self.arguments[0] == "check":
            return _costs({name: content["check"][name] for name in ("measured", "modelled")})
        return _costs({f"measured {number}": row for number, row in enumerate(content["measured"], start=1)})


_COSTS = {
    "seconds": "seconds",
    "client_cpu_seconds": "CPU of the client (s)",
    "server_cpu_seconds": "CPU of the archive (s)",
    "requests": "requests",
    "peak_megabytes": "memory of the client (MB)",
}


def _costs(found: Mapping[str, Mapping[str, float]]) -> Iterator[Row]:
    yield "", "sessions", "MB", *_COSTS.values()
    for name, row in found.items():
        yield (
            name,
            f"{row['sessions']:,}",
            f"{row['megabytes']:,.0f}",
            *(f"{row[key]:,.1f}" if key in row else "" for key in _COSTS),
        )


def _memory(found: Sequence[Mapping[str, float]]) -> Iterator[Row]:
    yield "after sessions", *(f"{row['sessions']:,}" for row in found)
    yield "memory (MB)", *(f"{row['megabytes']:.1f}" for row in found)


def _model(model: Mapping[str, Mapping[str, float]]) -> Iterator[Row]:
    yield "", "fixed", "for each session", "for each MB"
    for key, row in model.items():
        yield _COSTS[key], *(f"{row[term]:.3g}" for term in ("fixed", "per_session", "per_megabyte"))


class BenchTable(PageTable):
    """What pushing costs beside the same with other tools."""

    required_arguments = 1
    file = "bench.json"

    def rows(self, text: str) -> Iterator[Row]:
        """One row for each way, small or large files."""
        found = json.loads(text)[self.arguments[0]]
        columns = ("sessions/s", "requests a session", "MB/s", "CPU (ms)", "the archive's (ms)", "memory (MB)")
        yield "", *columns, "rate", "work"
        for one in found:
            yield _bench(one, found[0])


def _bench(one: Mapping[str, Any], first: Mapping[str, Any]) -> Row:
    def each(row: Mapping[str, Any], key: str) -> float:
        return float(row[key]) / float(row["sessions"])

    numbers = (
        f"{1 / each(one, 'seconds'):.2f}",
        f"{each(one, 'requests'):.1f}",
        f"{one['size'] / 1e6 / one['seconds']:.1f}",
        f"{1e3 * each(one, 'cpu'):.0f}",
        f"{1e3 * each(one, 'server_cpu'):.0f}",
        f"{one['peak'] / 1e6:.0f}",
    )
    rate = each(first, "seconds") / each(one, "seconds")
    work = (each(first, "cpu") + each(first, "server_cpu")) / (each(one, "cpu") + each(one, "server_cpu"))
    return str(one["name"]), *numbers, f"{rate:.1f} ×", f"{work:.1f} ×"


def _table(directive: SphinxDirective, rows: Iterator[Row], *, source: str) -> list[nodes.Node]:
    header, *below = rows
    lines = [_line(header), _line(("---",) * len(header)), *map(_line, below)]
    found = nodes.Element()
    directive.state.nested_parse(StringList(lines, source=source), directive.content_offset, found)
    return found.children


class MappingSchema(SphinxDirective):
    """What may stand in a mapping file, table by table."""

    def run(self) -> list[nodes.Node]:
        """A definition of each table, with its keys."""
        schema = json.loads(resources.files("xnat_bids_push").joinpath("mapping.schema.json").read_text("utf-8"))
        lines = [line for name, table in schema["properties"].items() for line in _table_lines(name, table, schema)]
        found = nodes.Element()
        self.state.nested_parse(StringList(lines, source="mapping.schema.json"), self.content_offset, found)
        return found.children


class ReceiptSchema(SphinxDirective):
    """What stands in a receipt."""

    def run(self) -> list[nodes.Node]:
        """Each kind of object with its keys."""
        schema = json.loads(resources.files("xnat_bids_push").joinpath("receipt.schema.json").read_text("utf-8"))
        objects = {"the receipt": schema, **{f"a {name}": one for name, one in schema["$defs"].items()}}
        lines = [line for title, one in objects.items() for line in _object_lines(title, one)]
        found = nodes.Element()
        self.state.nested_parse(StringList(lines, source="receipt.schema.json"), self.content_offset, found)
        return found.children


def _object_lines(title: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"**{title}**", "", schema.get("description", ""), "")
    yield from (f"- `{path}`: {one['description']}{_choices(one)}" for path, one in _described(schema, ""))
    yield ""


def _choices(one: Mapping[str, Any]) -> str:
    return f" One of {', '.join(f'`{choice}`' for choice in one['enum'])}." if "enum" in one else ""


def _described(schema: Mapping[str, Any], front: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, one in schema.get("properties", {}).items():
        if one.get("description"):
            yield f"{front}{key}", one
        inner = one.get("items", one)
        yield from _described(inner, f"{front}{key}{'[]' if 'items' in one else ''}.")


def _table_lines(name: str, table: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"**`{name}`**", "", str(table["description"]), "")
    for path, one in _keys(table, ""):
        kind = schema["$defs"][one["$ref"].rpartition("/")[2]]["title"] if "$ref" in one else _KINDS[one["type"]]
        yield f"- `{path}`: {kind}. {one.get('description', '')}"
    yield ""


def _keys(table: Mapping[str, Any], front: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The keys that end in a value; a row's own name is written <name>."""
    rows = dict(table.get("properties", {}))
    if isinstance(table.get("additionalProperties"), Mapping):
        rows["<name>"] = table["additionalProperties"]
    for key, one in rows.items():
        path = f"{front}.{key}" if front else key
        if one.get("type") == "object":
            yield from _keys(one, path)
        else:
            yield path, one


_KINDS = {"string": "a text", "boolean": "true or false", "number": "a number", "array": "a list of extensions"}


def _line(cells: Row) -> str:
    return f"| {' | '.join(cells)} |"


def _code(*words: str) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _datatypes(table: Mapping[str, Any]) -> Iterator[Row]:
    yield "BIDS datatype", "experiment", "its type", "scan type", "resource of the recording"
    for name, row in table["datatypes"].items():
        session = table["modalities"][row["modality"]]["session"]
        yield (
            _code(name),
            _code(f"…_{row['modality']}"),
            _code(session),
            _code(row["scan"]),
            _code(*_formats(table, row)),
        )


def _formats(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    return list(table["formats"][row["formats"]])


def _companions(table: Mapping[str, Any]) -> Iterator[Row]:
    yield "companion", "goes with the first of these that is there"
    for suffix, homes in table["companions"].items():
        if suffix != "ignoring":
            yield _code(suffix), _code(*homes)


def _trees(table: Mapping[str, Any]) -> Iterator[Row]:
    yield "folder of the root", "resource", "pushed"
    for name, row in table["trees"].items():
        label = f"{row['resource']}_<folder>" if row.get("parts") else row["resource"]
        yield _code(f"{name}/"), _code(label), f"when asked for (`--{name}`)" if row.get("optional") else "always"


_COUNTS = ("files", "placed", "restored", "scans", "fields")


def _coverage(table: Mapping[str, Any]) -> Iterator[Row]:
    yield "dataset", "files", "placed", "identical", "scans", "fields", "sessions", "without an address"
    for name, row in table.items():
        yield name, *(f"{row[column]:,}" for column in _COUNTS), _numbers(row["sessions"]), _numbers(row["left_out"])
    sums = (f"**{sum(row[column] for row in table.values()):,}**" for column in _COUNTS)
    identical = sum(row["files"] == row["restored"] for row in table.values())
    yield "**all**", *sums, f"**{identical} of {len(table)} datasets identical**", ""


def _numbers(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {word}" for word, number in counts.items())


def _fields(group: str, table: Mapping[str, Any]) -> Iterator[Row]:
    yield "field", "from", "as"
    for path, row in table["fields"][group].items():
        if path != "like":
            needs = f", if there is {_code(*_list(row['needs']))}" if "needs" in row else ""
            source = ", else ".join(_code(key) for key in _list(row["from"])) if "from" in row else _code(row["is"])
            yield _code(path), source + needs, _conversion(row)


def _conversion(row: Mapping[str, Any]) -> str:
    times = f" × {row['times']}" if "times" in row else ""
    kind = "" if "is" in row else str(row.get("as", "text"))
    return kind + times


def _list(words: str | list[str]) -> list[str]:
    return [words] if isinstance(words, str) else words


def _words(table: Mapping[str, Any]) -> Iterator[Row]:
    yield "field", "XNAT's word", "for"
    for name, row in table["words"].items():
        for word, written in row.items():
            yield _code(name), _code(word), _code(*_list(written))


MappingTable.tables |= {"datatypes": _datatypes, "companions": _companions, "trees": _trees, "words": _words}
MappingTable.tables |= {f"fields/{group}": partial(_fields, group) for group in _mapping()["fields"]}


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of the directives."""
    app.add_directive("cli-help", CliHelp)
    app.add_directive("mapping-table", MappingTable)
    app.add_directive("mapping-schema", MappingSchema)
    app.add_directive("privacy-table", PrivacyTable)
    app.add_directive("receipt-schema", ReceiptSchema)
    app.add_directive("coverage-table", CoverageTable)
    app.add_directive("pybids-table", PybidsTable)
    app.add_directive("scale-table", ScaleTable)
    app.add_directive("bench-table", BenchTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
