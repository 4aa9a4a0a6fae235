"""Facts that are made of several, with values that were worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_rules import JSON
from xnat_bids_push.fields import (
    ImageHeader,
    Person,
    Recording,
    SignalHeader,
    Telling,
    Visit,
    person_facts,
    scan_facts,
    scan_fields,
    session_facts,
    session_fields,
    subject_fields,
)
from xnat_bids_push.model import Dates, Scan
from xnat_bids_push.names import BidsName, parse_name
from xnat_bids_push.rules import Fact
from xnat_bids_push.table import default_table

RULES = default_table().rules
EVERYTHING = Telling(all_metadata=True)

P = "parameters/"
PARAMETER = "parameters/addParam[name={}]"


def recording(datatype: str = "anat", name: str = "sub-01_T1w.nii.gz", **sidecar: object) -> Recording:
    row = default_table().datatypes[datatype]
    parsed = parse_name(name) or BidsName((), "", "")
    scan = Scan(f"{datatype}_x", row.scan, parsed.suffix, "x")
    facts = {key: Fact(value, f"{key} in x.json") for key, value in sidecar.items()}
    return Recording(scan, parsed, datatype, row.modality, facts)


def of_scan(one: Recording, telling: Telling | None = None) -> dict[str, str]:
    telling = telling or Telling()
    return {made.path: made.value for made in scan_fields(one, scan_facts(one, telling), rules=RULES, telling=telling)}


def of_session(
    scans: list[Recording], visit: Visit | None = None, *, xsi_type: str = "", telling: Any = None
) -> dict[str, str]:
    telling = telling or Telling()
    facts = [scan_facts(one, telling) for one in scans]
    fields = session_fields(xsi_type, session_facts(facts, visit or Visit(), telling=telling), scans=facts, rules=RULES)
    return {made.path: made.value for made in fields}


def person(columns: dict[str, dict[str, object]] | None = None, **row: str) -> Person:
    return Person({key: Fact(value, f"{key} in participants.tsv") for key, value in row.items()}, columns or {})


def of_subject(one: Person, telling: Telling | None = None) -> dict[str, str]:
    telling = telling or Telling()
    facts, _ = person_facts(one, rules=RULES, telling=telling)
    return {made.path: made.value for made in subject_fields(facts, one, rules=RULES, telling=telling)}


def notes(one: Person) -> tuple[str, ...]:
    return person_facts(one, rules=RULES, telling=Telling())[1]


# ------------------------------------------------------------------ scans


@pytest.mark.parametrize(
    ("sidecar", "path", "value"),
    [
        ({"RepetitionTime": 2.5}, "tr", "2500"),
        ({"RepetitionTimeExcitation": 0.0071}, "tr", "7.1"),
        ({"RepetitionTimePreparation": 5}, "tr", "5000"),
        ({"RepetitionTime": 2, "RepetitionTimeExcitation": 0.01}, "tr", "2000"),
        ({"EchoTime": 0.00298}, "te", "2.98"),
        ({"EchoTime1": 0.00492, "EchoTime2": 0.00738}, "deltaTE", "2.46"),
        ({"InversionTime": 0.9}, "ti", "900"),
        ({"FlipAngle": 9}, "flip", "9"),
        ({"DwellTime": 0.0000031}, "readoutSampleSpacing", "3.1e-06"),
        ({"PixelBandwidth": 2315}, "pixelBandwidth", "2315"),
        ({"EffectiveEchoSpacing": 0.00051}, "echoSpacing", "0.00051"),
        ({"PhaseEncodingDirection": "i-"}, "inPlanePhaseEncoding/direction", "i"),
        ({"PhaseEncodingDirection": "i-"}, "inPlanePhaseEncoding/directionPositive", "0"),
        ({"PhaseEncodingDirection": "k"}, "inPlanePhaseEncoding/directionPositive", "1"),
        ({"SequenceName": "a", "PulseSequenceType": "b"}, "sequence", "a"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, "imageType", "ORIGINAL\\PRIMARY\\M"),
        ({"ScanningSequence": ["GR", "IR"]}, "scanSequence", "GR\\IR"),
        ({"ReceiveCoilActiveElements": "HEA;HEP"}, "coilElements", "HEA;HEP"),
    ],
)
def test_units_of_magnetic_resonance(sidecar: dict[str, object], path: str, value: str) -> None:
    facts = {key: Fact(told, "x.json") for key, told in sidecar.items()}

    assert of_scan(replace(recording(), sidecar=facts))[P + path] == value


def test_geometry_comes_from_the_header() -> None:
    image = ImageHeader((64, 60, 30, 120), (3.4375, 3.5, 4.0, 2.5), 2)

    found = of_scan(replace(recording("func", "sub-01_task-a_bold.nii"), image=image))

    assert {key.removeprefix(P): value for key, value in found.items() if "/" in key or key == "frames"} == {
        "frames": "120",
        "voxelRes/units": "mm",
        "voxelRes/x": "3.4375",
        "voxelRes/y": "3.5",
        "voxelRes/z": "4",
        "orientation": "Tra",
        "fov/x": "220",  # 64 · 3.4375
        "fov/y": "210",  # 60 · 3.5
        "matrix/x": "64",
        "matrix/y": "60",
        "partitions": "30",
        "tr": "2500",  # the sidecar is silent
    }


def test_frames_of_a_volume_are_its_slices_and_a_field_of_view_is_rounded() -> None:
    found = of_scan(replace(recording(), image=ImageHeader((176, 255, 170), (1.0, 0.9, 0.7), 0)))

    assert (found["frames"], found[P + "fov/y"], found[P + "orientation"]) == ("170", "230", "Sag")  # 229.5
    assert P + "tr" not in found


def test_diffusion_is_told_by_its_b_values() -> None:
    bvals = Fact([0, 5, 994.6, 1000, 1000, 2000], "dwi.bval")

    found = of_scan(replace(recording("dwi", "sub-01_dwi.nii.gz"), bvals=bvals))

    assert {key: value for key, value in found.items() if "diffusion" in key} == {
        P + "diffusion/bValues": "0,5,995,1000,2000",
        P + "diffusion/bMax": "2000",
        P + "diffusion/orientations": "4",
    }


def test_a_list_where_xnat_has_one_number_becomes_a_parameter() -> None:
    found = of_scan(recording("perf", "sub-01_asl.nii.gz", RepetitionTimePreparation=[4.5, 5.0], EchoTime=0.01))

    assert found[PARAMETER.format("RepetitionTimePreparation")] == "[4.5, 5.0]"
    assert P + "tr" not in found


def test_a_contrast_agent_is_that_of_the_sidecar_or_of_the_name() -> None:
    path = "contrasts/contrastBolusV2/agent"

    assert of_scan(recording(ContrastBolusIngredient="GADOLINIUM"))[path] == "GADOLINIUM"
    assert of_scan(recording("anat", "sub-01_ce-gad_T1w.nii"))[path] == "gad"


def test_spectroscopy_keeps_the_units_of_bids() -> None:
    one = recording(
        "mrs",
        "sub-01_svs.nii.gz",
        EchoTime=0.035,
        RepetitionTime=2,
        SpectrometerFrequency=[123.25],
        ResonantNucleus=["1H"],
        SpectralWidth=2000,
    )
    found = of_scan(replace(one, image=ImageHeader((1, 1, 1, 2048), (20.0, 20.0, 20.0, 0.0005))))

    assert {key: value for key, value in found.items() if "addParam" in key} == {
        PARAMETER.format("ResonantNucleus"): "1H",
        PARAMETER.format("SpectrometerFrequency"): "123.25",
        PARAMETER.format("SpectralWidth"): "2000",
        PARAMETER.format("EchoTime_s"): "0.035",
        PARAMETER.format("RepetitionTime_s"): "2",
    }
    assert "frames" not in found


PET: dict[str, object] = {
    "TracerName": "DASB",
    "TracerRadionuclide": "C11",
    "InjectedRadioactivity": 573,
    "InjectedRadioactivityUnits": "MBq",
    "InjectedMass": "n/a",
    "InjectedMassUnits": "ug",
    "SpecificRadioactivity": 353.51,
    "TimeZero": "10:15:30",
    "ScanStart": 10,
    "InjectionStart": -30,
    "FrameTimesStart": [0, 10.5],
    "FrameDuration": [10.5, 20],
}


def pet(acq_time: str = "2020-02-29T10:15:00", **sidecar: object) -> Recording:
    one = recording("pet", "sub-01_pet.nii.gz", **(PET | sidecar))
    image = ImageHeader((128, 128, 63, 2), (1.716, 1.716, 2.425, 0.0), 2)
    return replace(one, image=image, row={"acq_time": Fact(acq_time, "acq_time in scans.tsv")})


def test_pet_is_told_in_centimetres_and_seconds() -> None:
    found = of_scan(pet())

    assert {key.removeprefix(P): value for key, value in found.items() if key.startswith(P)} == {
        "dimensions/x": "128",
        "dimensions/y": "128",
        "dimensions/z": "63",
        "dimensions/num": "2",
        "pixelSize/x": "0.1716",
        "pixelSize/y": "0.1716",
        "pixelSize/z": "0.2425",
        "frames/numFrames": "2",
        "frames/frame[number=1]/starttime": "0",
        "frames/frame[number=2]/starttime": "10.5",
        "frames/frame[number=1]/length": "10.5",
        "frames/frame[number=2]/length": "20",
        "frames/frame[number=1]/units": "sec",
        "frames/frame[number=2]/units": "sec",
    }
    assert found["modality"] == "PT"


def test_frames_whose_starts_and_lengths_do_not_go_together_are_not_told() -> None:
    assert not any("frame[" in path for path in of_scan(pet(FrameDuration=[10])))


def test_a_tracer_is_that_of_all_recordings_or_none() -> None:
    alone = of_session([pet()], xsi_type="xnat:petSessionData")
    two = of_session([pet(), pet(TracerName="FDG")], xsi_type="xnat:petSessionData")

    assert {key: value for key, value in alone.items() if "tracer" in key} == {
        "tracer/name": "DASB",
        "tracer/isotope": "C11",
        "tracer/dose": "573",
        "tracer/dose/units": "MBq",
        "tracer/specificActivity": "353.51",
    }
    assert not any("tracer" in path for path in two)


def test_times_of_pet_count_from_time_zero_on_the_day_of_the_recording() -> None:
    found = of_session([pet()], xsi_type="xnat:petSessionData")

    assert found["start_time"] == "2020-02-29T10:15:30"
    assert found["start_time_scan"] == "2020-02-29T10:15:40"
    assert found["start_time_injection"] == "2020-02-29T10:15:00"
    assert not any("start_time" in path for path in of_session([pet("n/a")], xsi_type="xnat:petSessionData"))


EEG: dict[str, object] = {
    "SamplingFrequency": 250,
    "EEGChannelCount": 64,
    "EOGChannelCount": 2,
    "MiscChannelCount": 0,
    "RecordingDuration": 600.5,
    "PowerLineFrequency": 50,
    "SoftwareFilters": {"Lowpass": {"Hz": 100}},
}


def test_recordings_of_signals_have_rate_channels_and_duration() -> None:
    one = recording("eeg", "sub-01_task-a_eeg.edf", **EEG)
    scan, session = of_scan(one), of_session([one], xsi_type="xnat:eegSessionData")

    assert {key: value for key, value in session.items() if key != "modality"} == {
        "numberOfChannels": "66",
        "samplingRate": "250",
        "samplingRate/units": "Hz",
        "samplingInterval": "0.004",
        "samplingInterval/units": "s",
    }
    assert (scan[P + "dataRecord/duration"], scan[P + "dataRecord/units"]) == ("600.5", "s")
    assert scan[PARAMETER.format("PowerLineFrequency")] == "50"
    assert scan[PARAMETER.format("SoftwareFilters")] == '{"Lowpass": {"Hz": 100}}'


@pytest.mark.parametrize("datatype", ["eeg", "ieeg", "emg", "meg", "nirs"])
def test_the_header_is_asked_where_the_sidecar_is_silent(datatype: str) -> None:
    one = replace(recording(datatype, f"sub-01_{datatype}.edf"), signal=SignalHeader(512, 33, 20))

    found = of_scan(one)

    assert found[PARAMETER.format("SamplingFrequency")] == "512"
    assert found[PARAMETER.format("NumberOfChannels")] == "33"
    assert found[PARAMETER.format("RecordingDuration")] == "20"
    told = of_scan(replace(one, sidecar={"SamplingFrequency": Fact(500, "x.json")}))
    assert told[PARAMETER.format("SamplingFrequency")] == "500"


def test_channels_of_motion_are_counted_once() -> None:
    one = recording("motion", "sub-01_motion.tsv", MotionChannelCount=12, POSChannelCount=6, ORNTChannelCount=6)

    assert of_scan(one)[PARAMETER.format("NumberOfChannels")] == "12"


def test_all_metadata_adds_what_no_row_took_but_nobodys_name() -> None:
    one = recording(
        EchoTime=0.03,
        StationName="S",
        DeviceSerialNumber="123",
        EchoTrainLength=7,
        PatientName="A",
        PatientBirthDate="1980-01-01",
        PatientSex="F",
        AcquisitionTime="10:00:00",
        SliceTiming=[0, 1],
        Odd={"a": 1},
        Empty="n/a",
    )
    one = replace(one, sidecar={**one.sidecar, "a]b": Fact("x", "x.json")})
    own = {PARAMETER.format(key): value for key, value in (("DeviceSerialNumber", "123"), ("EchoTrainLength", "7"))}
    dates = {PARAMETER.format("AcquisitionTime"): "10:00:00"}
    people = {PARAMETER.format("PatientSex"): "F"}

    def found(telling: Telling) -> dict[str, str]:
        return {path: value for path, value in of_scan(one, telling).items() if "addParam" in path}

    assert found(Telling()) == {}
    assert found(EVERYTHING) == own | dates | people
    assert found(replace(EVERYTHING, demographics=False)) == own | dates
    assert found(replace(EVERYTHING, dates=Dates.SHIFTED)) == own | people


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(PET | EEG)) | st.text(max_size=5), JSON, max_size=8))
def test_no_sidecar_is_too_odd(sidecar: dict[str, object]) -> None:
    for datatype in ("anat", "pet", "eeg", "mrs", "micr"):
        one = recording(datatype, "sub-01_x.nii")
        facts = {key: Fact(value, "x.json") for key, value in sidecar.items()}
        one = replace(one, sidecar=facts, row={"acq_time": Fact("2020-01-01T00:00:00", "scans.tsv")})
        for value in [
            *of_scan(one, EVERYTHING).values(),
            *of_session([one, one], xsi_type="xnat:petSessionData").values(),
        ]:
            assert value
            assert value.casefold() not in ("inf", "nan", "-inf")


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=7),
    st.lists(st.floats(1e-30, 1e6, exclude_max=True), min_size=4, max_size=4),
    st.lists(st.floats(), max_size=4),
)
def test_no_header_is_too_odd(shape: list[int], spacing: list[float], bvals: list[float]) -> None:
    image = ImageHeader(tuple(shape), tuple(spacing[: len(shape)]), 1)
    signal = SignalHeader(spacing[0], shape[0], spacing[1])
    for datatype in ("dwi", "pet", "eeg"):
        one = replace(recording(datatype), image=image, signal=signal, bvals=Fact(bvals, "x.bval"))
        assert all(of_scan(one).values())


# ------------------------------------------------------------------ dates


@pytest.mark.parametrize(
    ("written", "date", "time"),
    [
        ("2009-05-11T13:51:11", "2009-05-11", "13:51:11"),
        ("2009-05-11T13:51:11.123456", "2009-05-11", "13:51:11"),
        ("2009-05-11T23:51:11Z", "2009-05-11", "23:51:11"),
        ("2009-05-11T23:51:11+02:00", "2009-05-11", "23:51:11"),
        ("2009-05-11 3:51:11", "2009-05-11", "03:51:11"),
        ("2009-05-11", "2009-05-11", None),
        ("1800-12-31T05:05:05", "1800-12-31", "05:05:05"),
        ("2009-02-30T00:00:00", None, None),
        ("11.05.2009", None, None),
        ("n/a", None, None),
        ("٢٠٠٩-05-11", None, None),
    ],
)
def test_dates_are_read_as_they_are_written_or_not_at_all(written: str, date: str | None, time: str | None) -> None:
    one = replace(recording(), row={"acq_time": Fact(written, "scans.tsv")})
    found = of_scan(one)

    assert (found.get("start_date"), found.get("startTime")) == (date, time)


@settings(deadline=None)
@given(st.text(max_size=25) | st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"))
def test_no_date_is_too_odd(written: str) -> None:
    found = of_session([pet(written)], xsi_type="xnat:petSessionData")

    assert len(found.get("date", "0000-00-00")) == 10
    assert len(found.get("time", "00:00:00")) == 8


# ------------------------------------------------------------------ people


@pytest.mark.parametrize(
    ("age", "units", "whole", "note"),
    [
        ("34", "", "34", ""),
        ("34.9", "year", "34", ""),
        ("30", "months", "2", ""),
        ("104", "weeks", "1", ""),
        ("800", "Days", "2", ""),
        ("30", "mo", "2", ""),
        ("30", "years of age", "30", ""),
        ("30", "year(s)", "30", ""),
        ("30", "fortnights", None, "unknown unit"),
        ("89+", "", "89", "is sent as 89"),
        ("25-30", "", None, "is no number"),
        ("old", "", None, "is no number"),
        ("-1", "", None, "is no number"),
    ],
)
def test_ages_are_whole_years(age: str, units: str, whole: str | None, note: str) -> None:
    one = person({"age": {"Units": units}}, age=age)

    assert of_subject(one).get("demographics/age") == whole
    assert [note in said for said in notes(one)] == [True] * bool(note)


def test_the_age_of_a_session_is_exact() -> None:
    visit = Visit("a", row=person(age="31.5"), person=person(age="30"))

    assert of_session([], visit)["age"] == "31.5"
    assert of_session([], replace(visit, row=Person()))["age"] == "30"
    assert "age" not in of_session([], visit, telling=Telling(demographics=False))


@pytest.mark.parametrize(
    ("sex", "levels", "gender"),
    [
        ("M", {}, "male"),
        ("female", {}, "female"),
        ("o", {}, "other"),
        ("1", {"1": "male", "2": "female"}, "male"),
        ("2", {"1": {"Description": "Male"}, "2": {"Description": "Female"}}, "female"),
        ("D", {"D": "divers"}, "other"),
        ("X", {"X": "not reported"}, "unknown"),
        ("D", {}, None),
    ],
)
def test_a_gender_is_what_its_level_means(sex: str, levels: dict[str, object], gender: str | None) -> None:
    one = person({"sex": {"Levels": levels}}, sex=sex)

    assert of_subject(one).get("demographics/gender") == gender
    assert bool(notes(one)) == (gender is None)


@pytest.mark.parametrize(("hand", "word"), [("R", "right"), ("left", "left"), ("A", "ambidextrous"), ("80", None)])
def test_handedness_is_a_word_of_xnat(hand: str, word: str | None) -> None:
    assert of_subject(person(handedness=hand)).get("demographics/handedness") == word
    assert bool(notes(person(handedness=hand))) == (word is None)


def test_height_and_weight_have_units() -> None:
    one = person({"height": {"Units": "m"}}, height="1.82", weight="75.5", education_years="12", race="x", group="p")

    assert of_subject(one) == {
        "group": "p",
        "demographics/height": "1.82",
        "demographics/height/units": "m",
        "demographics/weight": "75.5",
        "demographics/weight/units": "kg",
        "demographics/education": "12",
        "demographics/race": "x",
    }
    assert of_subject(person(height="tall")) == {}


def test_columns_become_fields_when_they_are_asked_for() -> None:
    one = person(species="mus musculus")
    one = replace(one, row={**one.row, "%consis_easy+": Fact("3", "participants.tsv")})

    assert of_subject(one, Telling(participant_fields=("species", "%Consis_easy+", "absent"))) == {
        "fields/field[name=species]": "mus musculus",
        "fields/field[name=_consis_easy_]": "3",
    }


def test_nothing_of_people_is_told_without_demographics() -> None:
    assert of_subject(person(age="3", sex="M", group="p"), Telling(demographics=False)) == {}
