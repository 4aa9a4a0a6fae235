"""XML as XNAT reads it: a session with scans, fields and resources, a subject, a catalog. Pure.

An element's place and form come from the server's own schema, so that each value lands where this server keeps it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from xml.etree import ElementTree as ET

from xnat_bids_push.model import Field, Parcel, Placed, Scan, SetFields
from xnat_bids_push.schema import SUBJECT, Schema, Slot
from xnat_bids_push.table import Table

_XNAT = "http://nrg.wustl.edu/xnat"
_CATALOG = "http://nrg.wustl.edu/catalog"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"

for _prefix, _space in (("xnat", _XNAT), ("xsi", _XSI), ("cat", _CATALOG)):
    ET.register_namespace(_prefix, _space)


def session_document(
    parcel: Parcel, resources: Collection[tuple[str, str]], *, project: str, schema: Schema, table: Table
) -> bytes:
    """A new experiment, for an import: its fields, scans and resources, each with the catalog that lists its files."""
    root = _element(schema.element(parcel.xsi_type))
    root.attrib |= {"label": parcel.node.experiment, "project": project}
    _add_fields(root, parcel.xsi_type, parcel.fields, schema)
    own = [resource for scan, resource in resources if not scan]
    if own:
        listing = _child(root, "resources")
        for resource in own:
            _add_resource(listing, "resource", "", resource, table)
    _child(root, "subject_ID").text = parcel.node.subject
    if parcel.scans:
        scans = _child(root, "scans")
        for scan in parcel.scans:
            element = _add_scan(scans, scan, [*_first_fields(scan), *scan.fields], schema)
            element.set("type", scan.type)
            for owner, resource in resources:
                if owner == scan.id:
                    _add_resource(element, "file", scan.id, resource, table)
    return _serialised(root)


def new_scans_document(xsi_type: str, scans: Iterable[Scan], schema: Schema) -> bytes:
    """Scans to be added to an experiment. XNAT merges them into what it has."""
    root = _element(schema.element(xsi_type))
    listing = _child(root, "scans")
    for scan in scans:
        _add_scan(listing, scan, [*_first_fields(scan), *scan.fields], schema).set("type", scan.type)
    return _serialised(root)


def fields_document(step: SetFields, schema: Schema) -> bytes:
    """Fields of an experiment and its scans, or of a subject, to be set. XNAT merges them into what it has.

    The document gives neither label nor project: XNAT would believe them more than the address.
    """
    xsi_type = step.xsi_type or SUBJECT
    root = _element(schema.element(xsi_type))
    _add_fields(root, xsi_type, step.fields, schema)
    if step.scans:
        scans = _child(root, "scans")
        for scan in step.scans:
            _add_scan(scans, scan, scan.fields, schema)
    return _serialised(root)


def subject_document(fields: Iterable[Field], schema: Schema) -> bytes:
    """A subject with its fields. The label is that of the address: XNAT would believe one in here more."""
    root = _element(schema.element(SUBJECT))
    _add_fields(root, SUBJECT, fields, schema)
    return _serialised(root)


def catalog_document(label: str, files: Iterable[Placed]) -> bytes:
    """A resource's catalog. It gives no digests: the server shall compute its own."""
    root = ET.Element(f"{{{_CATALOG}}}Catalog", {"ID": label})
    entries = ET.SubElement(root, f"{{{_CATALOG}}}entries")
    for placed in files:
        name = placed.address.name
        attributes = {"URI": name, "ID": name, "name": name.rpartition("/")[2]}
        ET.SubElement(entries, f"{{{_CATALOG}}}entry", attributes)
    return _serialised(root)


def resource_folder(scan: str, resource: str) -> str:
    """Where an import's archive holds a resource, below the experiment's folder."""
    return f"SCANS/{scan}/{resource}" if scan else f"RESOURCES/{resource}"


# ------------------------------------------------------------------ parts


def _first_fields(scan: Scan) -> Iterable[Field]:
    """What each scan is given when it is made."""
    return Field("quality", scan.quality), Field("series_description", scan.series_description)


def _add_scan(parent: ET.Element, scan: Scan, fields: Iterable[Field], schema: Schema) -> ET.Element:
    element = _child(parent, "scan")
    element.attrib |= {"ID": scan.id, f"{{{_XSI}}}type": scan.xsi_type}
    _add_fields(element, scan.xsi_type, fields, schema)
    return element


def _add_resource(parent: ET.Element, tag: str, scan: str, label: str, table: Table) -> None:
    kind, content = table.resource_attributes(label)
    _child(parent, tag).attrib |= {
        f"{{{_XSI}}}type": "xnat:resourceCatalog",
        "label": label,
        "URI": f"{resource_folder(scan, label)}/{label}_catalog.xml",
        "format": kind,
        "content": content,
    }


def _add_fields(parent: ET.Element, xsi_type: str, fields: Iterable[Field], schema: Schema) -> None:
    """Put fields below an element, in the schema's order; those that it does not know are left out."""
    routes = [(schema.route(xsi_type, field.path), field) for field in fields]
    known = [(route, field) for route, field in routes if route]
    for route, field in sorted(known, key=lambda one: [(slot.order, slot.step.value) for slot in one[0]]):
        _add_field(parent, route, field.value)


def _add_field(parent: ET.Element, route: tuple[Slot, ...], value: str) -> None:
    here = parent
    for slot in route:
        if slot.attribute:
            here.set(slot.step.name, value)
            return
        here = _existing(here, slot)
    here.text = value


def _existing(parent: ET.Element, slot: Slot) -> ET.Element:
    """The child that a step leads to, made if need be."""
    step = slot.step
    for child in parent.findall(f"{{{_XNAT}}}{step.name}"):
        if not step.key or child.get(step.key) == step.value:
            return child
    child = _child(parent, step.name)
    if step.key:
        child.set(step.key, step.value)
    if slot.of_type:
        child.set(f"{{{_XSI}}}type", slot.of_type)
    return child


def _element(name: str) -> ET.Element:
    return ET.Element(f"{{{_XNAT}}}{name}")


def _child(parent: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(parent, f"{{{_XNAT}}}{name}")


def _serialised(root: ET.Element) -> bytes:
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document
