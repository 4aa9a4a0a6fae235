"""Where things are on a server: what comes behind its address."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from xnat_bids_push.model import Address, Node


def file_uri(address: Address, project: str) -> str:
    """The address of a file.

    >>> file_uri(Address(Node("sub-01"), "", "BIDS", "x y"), "P")
    '/data/projects/P/subjects/sub-01/resources/BIDS/files/x%20y'
    >>> file_uri(Address(Node("sub-01", "e"), "anat_T1w", "NIFTI", "a/x.nii"), "P").partition("/experiments")[2]
    '/e/scans/anat_T1w/resources/NIFTI/files/a/x.nii'
    """
    return f"{node_uri(address.node, project)}{inside(address.scan, address.resource)}/files/{quote(address.name)}"


def node_uri(node: Node, project: str) -> str:
    """The address of a project, a subject or an experiment; with ``?format=html`` it is a page.

    >>> node_uri(Node("sub/1", "e 1"), "P")
    '/data/projects/P/subjects/sub%2F1/experiments/e%201'
    """
    steps = (("projects", project), ("subjects", node.subject), ("experiments", node.experiment))
    return f"/data{_path(steps)}"


def inside(scan: str = "", resource: str = "") -> str:
    """The way from an object to a scan or resource in it.

    >>> inside("anat_T1w", "NIFTI"), inside(resource="BIDS"), inside("anat_T1w")
    ('/scans/anat_T1w/resources/NIFTI', '/resources/BIDS', '/scans/anat_T1w')
    """
    return _path((("scans", scan), ("resources", resource)))


def _path(steps: Iterable[tuple[str, str]]) -> str:
    return "".join(f"/{kind}/{quote(label, safe='')}" for kind, label in steps if label)
