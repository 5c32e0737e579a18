"""The volume viewer: what the browser is told of a case, and the component that shows it (volume_viewer.js)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from curation.errors import CurationError
from curation.finding_place import voxel_of
from curation.geometry import Geometry
from curation.labels import BY_NAME, value_color
from curation.status import Status
from dashboards import routes
from dashboards.components.case_facts import state_text
from dashboards.components.viewer import value_title
from dashboards.components.volumes import no_image
from dashboards.niivue import Niivue
from dashboards.slices import WINDOWS
from dashboards.volume_files import SMALL, image_grid, image_name, require_one_grid
from db.queries import AnnotationRow, CasePage, PredictionRow, VersionDetail
from db.queries.volumes import CaseImage
from pipelines.blame import Traced

Data = dict[str, Any]
_HERE = Path(__file__)
_MOUNTED = st.components.v2.component(
    "maskledger_volume_viewer",
    css=_HERE.with_suffix(".css").read_text(encoding="utf-8"),
    js=_HERE.with_suffix(".js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


@dataclass(frozen=True)
class Shown:
    """One mask to be shown: of a version, or of a prediction.

    Attributes:
        title: What stands above it.
        said: How the crosshair's line calls it.
        file_hash: Of the stored mask; None: a version without one.
        geometry: Its grid.
        details: Label value to who drew it, in words.
        origin: Who drew each voxel, where that is to be colored; with the version's full address.
    """

    title: str
    said: str
    file_hash: str | None
    geometry: Geometry
    details: Mapping[int, str]
    origin: tuple[str, Traced] | None = None


def version_shown(
    detail: VersionDetail, geometry: Geometry, origin: tuple[str, Traced] | None = None
) -> Shown:
    """A version's mask as the viewer is to show it."""
    row = detail.row
    details = {a.class_id: state_text(a) for a in detail.annotations if a.voxels}
    details |= {r.value: "no class" for r in detail.reserved}
    return Shown(
        f"Version {row.number}: {row.kind.value}",
        f"version {row.number}",
        row.file_hash,
        geometry,
        details,
        origin,
    )


def prediction_shown(prediction: PredictionRow, geometry: Geometry) -> Shown:
    """A prediction's mask as the viewer is to show it."""
    details = {c.class_id: "predicted" for c in prediction.classes if c.voxels}
    return Shown(
        f"Prediction of {prediction.model}",
        f"prediction of {prediction.model}",
        prediction.file_hash,
        geometry,
        details,
    )


def viewer_data(case: CasePage, image: CaseImage | None, shown: Sequence[Shown], engine: Niivue) -> Data:
    """All that the component is told: addresses signed for this case, legends, places to go to.

    Args:
        case: The case, with the version that its page shows.
        image: Its image, if it has one.
        shown: One mask, or two side by side.
        engine: The installed NiiVue.
    """
    return {
        "module": engine.address,
        "case": case.case_id,
        "windows": {name: window.limits_hu for name, window in WINDOWS.items()},
        "colors": "origin" if shown[0].origin else "class",
        "places": places(case.detail, shown[0].geometry),
        "panes": [_pane(case, image, one, shown[0]) for one in shown],
    }


def _pane(case: CasePage, image: CaseImage | None, shown: Shown, first: Shown) -> Data:
    problem = None
    if image is None:
        problem = f"{no_image(case.address)}. The mask is shown alone."
    else:
        problem = image_problem(image, shown.geometry)
    # On one grid one image serves both panes; the browser fetches it once.
    grid_of = shown.file_hash if shown.geometry.difference(first.geometry) else first.file_hash
    small = int(np.prod(shown.geometry.shape)) < SMALL
    mask = overlay = None
    if shown.file_hash is not None:
        values = sorted(shown.details)
        legend = [
            _entry(value, value_title(value), value_color(value), shown.details[value]) for value in values
        ]
        mask = _volume(
            lambda half: routes.mask_address(case.case_id, str(shown.file_hash), half=half), small, legend
        )
        overlay = mask
        if shown.origin:
            address, traced = shown.origin
            hands = [
                _entry(hand.value, hand.title, hand.color, f"{hand.ml:,.1f} ml") for hand in traced.hands
            ]
            overlay = _volume(
                lambda half: routes.origin_address(case.case_id, address, str(shown.file_hash), half=half),
                small,
                hands,
            )
    return {
        "title": shown.title,
        "version": shown.said,
        "image": None if problem or image is None else _image(case.case_id, image, grid_of, small),
        "overlay": overlay,
        "mask": mask,
        "start": start_mm(case.detail.annotations, shown.geometry),
        "to_voxel": np.linalg.inv(shown.geometry.affine)[:3].tolist(),
        "problem": problem,
    }


def image_problem(image: CaseImage, grid: Geometry) -> str | None:
    """Why a case's image cannot be shown under a mask, with what to do; None if its header speaks for it.

    Whether its voxels are still those that were taken in is for the route to find out, which reads them.
    """
    try:
        require_one_grid(grid, image_grid(image))
    except CurationError as error:
        return f"{error} The mask is shown alone."
    return None


def _image(case_id: int, image: CaseImage, grid_of: str | None, small: bool) -> Data:
    name = image_name(image)
    half = {window: routes.image_address(case_id, name, grid_of, window) for window in WINDOWS}
    return {"half": None if small else half, "full": routes.image_address(case_id, name, grid_of, None)}


def _volume(address: Any, small: bool, legend: list[Data]) -> Data:
    return {"half": None if small else address(True), "full": address(False), "legend": legend}


def _entry(value: int, title: str, color: str, detail: str) -> Data:
    return {"value": value, "title": title, "color": color, "detail": detail}


def places(detail: VersionDetail, geometry: Geometry) -> dict[str, list[Data]]:
    """Where a person may want to look, in RAS+ mm: what findings name, and the middle of every class."""
    centers = {a.class_name: a.centroid for a in detail.annotations if a.voxels and a.centroid}
    found = []
    for finding in detail.findings:
        voxel = voxel_of(finding.message)
        mm = centers.get(finding.class_name or "")
        if voxel is not None:
            mm = (geometry.affine @ [*voxel, 1.0])[:3].tolist()
        if mm is not None:
            name = BY_NAME[finding.class_name].title if finding.class_name else "whole mask"
            found.append(
                {"title": f"{finding.severity.value}: {finding.check.replace('_', ' ')}, {name}", "mm": mm}
            )
    classes = [{"title": BY_NAME[name].title, "mm": mm} for name, mm in centers.items()]
    return {"Findings": found, "Classes": classes}


def start_mm(annotations: Sequence[AnnotationRow], geometry: Geometry) -> list[float]:
    """Where the crosshair begins: in the largest of the small organs, so that all planes show something."""
    drawn = [a for a in annotations if a.status is Status.ANNOTATED and a.voxels and a.centroid]
    for wanted in ("pancreas", "left_kidney", "right_kidney"):
        for a in drawn:
            if a.class_name == wanted and a.centroid:
                return list(a.centroid)
    largest = max(drawn, key=lambda a: a.volume_ml, default=None)
    if largest is not None and largest.centroid:
        return list(largest.centroid)
    return (geometry.affine @ [*(n / 2 for n in geometry.shape), 1.0])[:3].tolist()


def mount(data: Data, key: str) -> None:
    """Show the viewer. A page that was open for long is run again, which signs new addresses.

    Where the browser says that it has no WebGL 2, ``no webgl`` is set for the rest of the visit.
    """
    # Counted, because addresses of one step are equal and the browser is told only what changed.
    renewals = st.session_state.setdefault("viewer renewals", 0)
    _MOUNTED(
        data={**data, "renewals": renewals},
        key=key,
        on_webgl_change=_no_webgl,
        on_renew_change=_renew,
    )


def _no_webgl() -> None:
    st.session_state["no webgl"] = True


def _renew() -> None:
    st.session_state["viewer renewals"] += 1
