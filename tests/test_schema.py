"""What fits into the server's data model, and what does not."""

from __future__ import annotations

import math
import textwrap

import pytest
from defusedxml import ElementTree
from hypothesis import given
from hypothesis import strategies as st

from tests.schemas import SCHEMA
from xnat_bids_push.model import Field, Node, Parcel, Scan
from xnat_bids_push.schema import Schema, fit

MR, SESSION, SUBJECT = "xnat:mrScanData", "xnat:mrSessionData", "xnat:subjectData"

SMALL = Schema(
    ElementTree.fromstring(
        textwrap.dedent("""\
        <xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xnat="http://nrg.wustl.edu/xnat">
          <xs:element name="Thing" type="xnat:thing"/>
          <xs:complexType name="base"><xs:all><xs:element name="first" type="xs:int"/></xs:all></xs:complexType>
          <xs:complexType name="thing"><xs:complexContent><xs:extension base="xnat:base"><xs:sequence>
            <xs:choice>
              <xs:element name="grade"><xs:simpleType><xs:restriction base="xnat:short">
                <xs:maxLength value="2"/></xs:restriction></xs:simpleType></xs:element>
              <xs:element name="years"><xs:simpleType><xs:restriction base="xs:integer">
                <xs:minInclusive value="0"/><xs:maxInclusive value="30"/></xs:restriction></xs:simpleType></xs:element>
            </xs:choice>
            <xs:element name="weight"><xs:complexType><xs:simpleContent><xs:extension base="xs:float">
              <xs:attribute name="units"/></xs:extension></xs:simpleContent></xs:complexType></xs:element>
            <xs:element name="who" type="xnat:abstractPerson"/>
            <xs:element name="loop" type="xnat:loop"/>
          </xs:sequence></xs:extension></xs:complexContent></xs:complexType>
          <xs:simpleType name="short"><xs:restriction base="xs:string"><xs:maxLength value="4"/></xs:restriction>
          </xs:simpleType>
          <xs:simpleType name="loop"><xs:restriction base="xnat:loop"/></xs:simpleType>
          <xs:complexType name="abstractPerson"/>
          <xs:complexType name="person"><xs:complexContent><xs:extension base="xnat:abstractPerson"><xs:sequence>
            <xs:element name="name" type="xs:string"/></xs:sequence></xs:extension></xs:complexContent></xs:complexType>
        </xs:schema>""")
    )
)


def fault(path: str, value: str, xsi_type: str = MR, schema: Schema = SCHEMA) -> str:
    return schema.fault(xsi_type, Field(path, value))


@pytest.mark.parametrize(
    ("xsi_type", "path", "value"),
    [
        (MR, "parameters/tr", "2000"),
        (MR, "parameters/voxelRes/x", "2.5"),
        (MR, "parameters/addParam[name=Echo/Train[0]", "x"),
        (MR, "frames", "192"),
        (MR, "scanner/manufacturer", "GE"),
        (MR, "startTime", "10:11:12"),
        (SUBJECT, "demographics/gender", "Female"),
        (SUBJECT, "demographics/age", "34"),
        (SUBJECT, "fields/field[name=cohort]", "a b"),
        (SESSION, "date", "1899-02-03"),
        (SESSION, "age", "34.5"),
        ("xnat:petSessionData", "tracer/dose/units", "MBq"),
        ("xnat:petSessionData", "start_time", "2020-02-03T10:11:12"),
        ("xnat:petScanData", "parameters/frames/frame[number=1]/starttime", "3"),
    ],
)
def test_what_xnat_keeps_fits(xsi_type: str, path: str, value: str) -> None:
    assert fault(path, value, xsi_type) == ""


@pytest.mark.parametrize(
    ("xsi_type", "path", "value", "words"),
    [
        (MR, "parameters/tr", "inf", "no float"),
        (MR, "parameters/tr", "1e39", "no float"),
        (MR, "parameters/tr", "-3.5e+38", "no float"),
        (MR, "parameters/tr", "1e-300", "no float"),
        (MR, "parameters/tr", "٣", "no float"),
        (MR, "parameters/tr", "NaN", "no float"),
        (MR, "parameters/tr", "1_0", "no float"),
        (MR, "parameters/fov/x", "220.5", "no integer"),
        (MR, "frames", str(2**31), "no integer"),
        (MR, "parameters/orientation", "Sagittal", "8 characters, and 5"),
        (MR, "parameters/nosuch", "1", "no such field"),
        (MR, "parameters/addParam[nosuch=a]", "1", "no such field"),
        (MR, f"parameters/addParam[name={'k' * 256}]", "1", "longer than 255"),
        (MR, "type", "x" * 256, "256 characters, and 255"),
        (MR, "type", "\U0001f9e0" * 128, "256 characters, and 255"),
        (MR, "type", " ", "no value"),
        (MR, "type", "a\x00b", "control characters"),
        (MR, "type", "a\uffffb", "control characters"),
        (MR, "type", "a\ud800b", "control characters"),
        (SUBJECT, "demographics/gender", "O", "none of male"),
        (SUBJECT, "demographics/age", "34.5", "no integer"),
        (SESSION, "date", "2020-02-30", "no date"),
        (SESSION, "time", "noon", "no time"),
        ("xnat:nosuchData", "date", "2020-02-03", "no such field"),
    ],
)
def test_what_xnat_refuses_or_loses_does_not_fit(xsi_type: str, path: str, value: str, words: str) -> None:
    assert words in fault(path, value, xsi_type)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("first", "1", ""),
        ("grade", "ab", ""),
        ("grade", "abc", "3 characters, and 2"),
        ("years", "30", ""),
        ("years", "31", "more than 30"),
        ("years", "-1", "less than 0"),
        ("weight", "70.5", ""),
        ("weight", "heavy", "no float"),
        ("weight/units", "kg", ""),
        ("who/name", "x", ""),
        ("who/nosuch", "x", "no such field"),
        ("loop", "x", ""),
    ],
)
def test_every_form_of_declaration_is_understood(path: str, value: str, words: str) -> None:
    found = fault(path, value, "xnat:thing", SMALL)
    assert words in found
    assert bool(words) == bool(found)


def test_a_type_is_known_by_its_element_and_its_bases() -> None:
    assert SCHEMA.element(SESSION) == "MRSession"
    assert SCHEMA.element("xnat:nosuchData") == ""
    assert SCHEMA.extends(SESSION, "xnat:imageSessionData")
    assert SCHEMA.extends(SESSION, SESSION)
    assert not SCHEMA.extends(SUBJECT, "xnat:imageSessionData")


@given(st.text())
def test_a_number_that_fits_is_finite(value: str) -> None:
    if not fault("parameters/tr", value):
        assert math.isfinite(float(value))


def test_what_does_not_fit_costs_nothing_but_itself() -> None:
    good, bad = Field("parameters/tr", "2000"), Field("parameters/te", "short", "EchoTime in x.json")
    scan = Scan("anat_T1w", MR, "T1w", "T1w", fields=(good, bad))
    parcel = Parcel(Node("sub-01", "sub-01_MR"), SESSION, (scan,), (), fields=(Field("date", "2020-01-01"),))

    fitted, misfits = fit(parcel, SCHEMA)

    assert fitted.scans[0].fields == (good,)
    assert fitted.fields == parcel.fields
    assert [(one.xsi_type, one.field) for one in misfits] == [(MR, bad)]
