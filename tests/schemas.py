"""The data model that the embedded archive serves, as a client reads it."""

from __future__ import annotations

from importlib import resources

from defusedxml import ElementTree

from xnat_bids_push.schema import Schema

SCHEMA = Schema(
    ElementTree.fromstring(resources.files("xnat_bids_push.server").joinpath("schema/xnat.xsd").read_bytes())
)
