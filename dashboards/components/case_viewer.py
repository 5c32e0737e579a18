"""The picture of a case's page: the volume viewer with its choices, or slices where the browser cannot."""

import streamlit as st

from app.workspace import Workspace
from dashboards import niivue
from dashboards.components.viewer import viewer
from dashboards.components.volume_viewer import Shown, mount, prediction_shown, version_shown, viewer_data
from dashboards.components.volumes import load_scene
from dashboards.origin_colors import traced
from dashboards.session import problems_told
from dashboards.volume_files import mask_grid
from db.case_files import case_files
from db.queries import CasePage, version_detail
from db.queries.volumes import CaseImage, case_image

VOLUME, SLICES = "Volume", "Slices"
BY_CLASS, BY_ORIGIN = "Class", "Origin"


@st.fragment
def case_viewer(case: CasePage, ws: Workspace) -> None:
    """Show the version of a case's page; what is chosen here draws nothing else of the page anew."""
    with problems_told():
        with ws.catalog.reading() as session:
            image = case_image(session, case.case_id)
        engine = niivue.installed()
        if engine is None:
            st.info(
                f"The volume viewer is not installed: run `{niivue.INSTALL}` in the program's folder and start the "
                "dashboard again. Slices are shown instead.",
                icon=":material/view_in_ar:",
            )
        views = [VOLUME, SLICES] if engine else [SLICES]
        how, color, beside = st.columns([1, 1, 1.6], gap="small", vertical_alignment="bottom")
        chosen = how.segmented_control(
            "Shown as", views, default=views[0], key="view", required=True, bind="query-params"
        )
        if engine is None or chosen == SLICES or st.session_state.get("no webgl"):
            if engine is not None and chosen == VOLUME:
                st.info(
                    "This browser has no WebGL 2, which the volume viewer draws with: slices are shown instead.",
                    icon=":material/view_in_ar:",
                )
            _slices(case, image, ws)
            return
        if case.detail.row.file_hash is None and image is None:
            st.info(
                "This version has no mask and the case no image: nothing to look at.", icon=":material/info:"
            )
            return
        colored = color.segmented_control(
            "Colored by", [BY_CLASS, BY_ORIGIN], default=BY_CLASS, key="colored by", required=True,
            disabled=case.detail.row.file_hash is None,
            help="Origin: which source, model or person put each voxel there, over all versions.",
        )  # fmt: skip
        others = _others(case)
        choices = [None, *others]
        asked = ("prediction", st.query_params.get("prediction"))
        other = beside.selectbox(
            "Beside it", choices, format_func=lambda o: others[o] if o else "nothing", key="beside",
            # A link to a model's worst case names the prediction that was scored.
            index=next((i for i, o in enumerate(choices) if o and (o[0], str(o[1])) == asked), 0),
        )  # fmt: skip
        shown = [_version(case, ws, case.detail.row.id, by_origin=colored == BY_ORIGIN)]
        if other is not None:
            shown.append(_beside(case, ws, other, by_origin=colored == BY_ORIGIN))
        mount(viewer_data(case, image, shown, engine), key="volume viewer")


def _others(case: CasePage) -> dict[tuple[str, int], str]:
    """What can stand beside the version: its case's other versions with a mask, and predictions; the newest first."""
    versions = {
        ("version", v.number): f"version {v.number} · {v.kind.value}"
        for v in reversed(case.versions)
        if v.file_hash is not None and v.number != case.detail.row.number
    }
    predictions = {("prediction", p.id): f"prediction of {p.model}" for p in case.predictions if p.file_hash}
    return versions | predictions


def _version(case: CasePage, ws: Workspace, version_id: int, *, by_origin: bool) -> Shown:
    with ws.catalog.reading() as session:
        detail = case.detail if version_id == case.detail.row.id else version_detail(session, version_id)
        geometry = case_files(session, [version_id])[0].geometry
    origin = None
    if by_origin and detail.row.file_hash is not None:
        address = f"{case.address}@{detail.row.number}"
        with st.spinner("Following the versions back …"):
            origin = (address, traced(ws, address, detail.row.file_hash))
    return version_shown(detail, geometry, origin)


def _beside(case: CasePage, ws: Workspace, other: tuple[str, int], *, by_origin: bool) -> Shown:
    kind, number = other
    if kind == "version":
        (row,) = (v for v in case.versions if v.number == number)
        return _version(case, ws, row.id, by_origin=by_origin)
    (prediction,) = (p for p in case.predictions if p.id == number)
    return prediction_shown(prediction, mask_grid(ws.store, prediction.file_hash))


def _slices(case: CasePage, image: CaseImage | None, ws: Workspace) -> None:
    scene = load_scene(case, image, ws.store)
    if scene is None:
        st.info("This version has no mask and the case no image: nothing to look at.", icon=":material/info:")
        return
    drawn = {a.class_id: a.volume_ml for a in case.detail.annotations if a.voxels}
    viewer(
        scene,
        [a.bbox for a in case.detail.annotations if a.bbox],
        drawn | {r.value: r.volume_ml for r in case.detail.reserved},
        f"{case.case_id}@{case.detail.row.number}",
    )
