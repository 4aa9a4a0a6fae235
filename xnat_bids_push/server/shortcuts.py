"""Short names of fields: what ``gender=`` or ``columns=date`` stand for, by the kind of object."""

from __future__ import annotations

from typing import Final

_DEMOGRAPHICS: Final = "xnat:subjectData/demographics[@xsi:type=xnat:demographicData]"


def _paths(root: str, names: str) -> dict[str, str]:
    return {name: f"{root}/{name}" for name in names.split()}


_VALIDATION: Final = {f"validation_{name}": f"validation/{name}" for name in ("method", "status", "date", "notes")}

PROJECT: Final[dict[str, str]] = {
    **_paths("xnat:projectData", "ID secondary_ID name description keywords"),
    "alias": "xnat:projectData/aliases/alias/alias",
    "pi_firstname": "xnat:projectData/PI/firstname",
    "pi_lastname": "xnat:projectData/PI/lastname",
    "note": "xnat:projectData/fields/field[name=note]/field",
}

SUBJECT: Final[dict[str, str]] = {
    **_paths("xnat:subjectData", "project label ID group src"),
    "pi_firstname": "xnat:subjectData/investigator/firstname",
    "pi_lastname": "xnat:subjectData/investigator/lastname",
    **_paths(
        _DEMOGRAPHICS,
        "dob yob age gender handedness ses education educationDesc race ethnicity weight height"
        " gestational_age post_menstrual_age birth_weight",
    ),
}

EXPERIMENT: Final[dict[str, str]] = {
    **_paths("xnat:experimentData", "ID visit_id visit date time note project label protocol"),
    "pi_firstname": "xnat:experimentData/investigator/firstname",
    "pi_lastname": "xnat:experimentData/investigator/lastname",
    **{name: f"xnat:experimentData/{path}" for name, path in _VALIDATION.items()},
    **_paths(
        "xnat:imageSessionData",
        "scanner operator dcmAccessionNumber dcmPatientId dcmPatientName session_type modality UID",
    ),
    "studyInstanceUID": "xnat:imageSessionData/UID",
    **_paths("xnat:mrSessionData", "coil fieldStrength marker"),
    **_paths("xnat:petSessionData", "stabilization studyType patientID patientName"),
    "scan_start_time": "xnat:petSessionData/start_time_scan",
    "injection_start_time": "xnat:petSessionData/start_time_injection",
    "tracer_name": "xnat:petSessionData/tracer/name",
    "tracer_startTime": "xnat:petSessionData/tracer/startTime",
    "tracer_dose": "xnat:petSessionData/tracer/dose",
    "tracer_sa": "xnat:petSessionData/tracer/specificActivity",
    "tracer_totalmass": "xnat:petSessionData/tracer/totalMass",
    "tracer_intermediate": "xnat:petSessionData/tracer/intermediate",
    "tracer_isotope": "xnat:petSessionData/tracer/isotope",
    "tracer_isotope_half-life": "xnat:petSessionData/tracer/isotope/half-life",
    "tracer_transmissions": "xnat:petSessionData/tracer/transmissions",
    "tracer_transmissions_start": "xnat:petSessionData/tracer/transmissions_starttime",
    "subject_ID": "xnat:subjectAssessorData/subject_ID",
}

SCAN: Final[dict[str, str]] = {
    **_paths(
        "xnat:imageScanData",
        "ID type UID note quality condition series_description documentation scanner modality frames",
    ),
    **{name: f"xnat:imageScanData/{path}" for name, path in _VALIDATION.items()},
    "scanTime": "xnat:imageScanData/startTime",
    **_paths("xnat:mrScanData", "coil fieldStrength marker stabilization"),
    **_paths(
        "xnat:petScanData/parameters",
        "orientation originalFileName systemType fileType transaxialFOV acqType facility numPlanes numGates"
        " planeSeparation binSize dataType",
    ),
    "numFrames": "xnat:petScanData/parameters/frames/numFrames",
}

READ_ONLY: Final[dict[str, str]] = {
    "insert_date": "meta/insert_date",
    "insert_user": "meta/insert_user/login",
    "last_modified": "meta/last_modified",
    "xsiType": "extension_item/element_name",
}
"""Names that listings offer beside the fields; they cannot be set."""
