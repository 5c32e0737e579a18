"""A version's mask for an annotation tool, and the corrected one back as the case's next version."""

from collections.abc import Callable, Iterable
from functools import partial

import streamlit as st

from app.settings import AccessRole
from curation.errors import UsageError
from curation.labels import BY_NAME
from dashboards import access
from dashboards.components.decisions import LONGEST_REASON, act
from dashboards.session import page_bench
from db.queries import CasePage
from pipelines.checkout import Tool, packed_for, packed_name
from pipelines.correct import Corrected, Uploaded, correct
from pipelines.runs import Workbench

# A mask of 512 × 512 × 1500 voxels packs to some MB; what is larger is an image, or not packed.
LARGEST_MB = 64
_TITLES = {Tool.ITKSNAP: "ITK-SNAP", Tool.SLICER: "3D Slicer"}


def download(case: CasePage) -> None:
    """Mask, label names and colors, and if wanted the image, on one grid in one file."""
    tool_box, image_box, go = st.columns([1.3, 1.3, 1], vertical_alignment="bottom")
    tool = tool_box.segmented_control(
        "Annotation tool",
        list(Tool),
        default=Tool.ITKSNAP,
        format_func=_TITLES.__getitem__,
        key="tool",
        required=True,
    )
    with_image = image_box.toggle("With the CT image", key="with image", help="Takes a while for a large CT.")
    address = f"{case.address}@{case.detail.row.number}"
    go.download_button(
        "Download", _packed(address, tool, with_image), packed_name(address, tool), "application/zip",
        key="download mask",
        icon=":material/download:", on_click="ignore", width="stretch",
    )  # fmt: skip


def _packed(address: str, tool: Tool, with_image: bool) -> Callable[[], bytes]:
    """Packs when the button is pressed, not for everybody who looks: then no page is at hand to ask who it is."""
    return partial(packed_for, page_bench(), address, tool, with_image=with_image)


def upload(case: CasePage) -> None:
    """The form that takes a corrected mask back; only what the person changed becomes theirs."""
    if not access.may(AccessRole.REVIEWER):
        st.caption("It takes a reviewer to bring a corrected mask back.")
        return
    turn = st.session_state.get("turn", 0)
    numbers = [v.number for v in reversed(case.versions)]
    with st.form("correct", enter_to_submit=False):
        st.file_uploader(
            "Corrected mask", type=["nii", "gz"], key=f"mask {turn}", max_upload_size=LARGEST_MB,
            help="On the grid of the version that it was made from: neither cropped nor resampled.",
        )  # fmt: skip
        which, why, go = st.columns([1, 2, 1], vertical_alignment="bottom")
        which.selectbox(
            "Made from version", numbers, index=numbers.index(case.detail.row.number), key=f"base {turn}"
        )
        why.text_input("What was wrong", key=f"corrected because {turn}", max_chars=LONGEST_REASON)
        st.checkbox(
            "Merge with what came since", key=f"merge {turn}",
            help="Where the version that you started from is no longer the newest: both changes, yours winning.",
        )  # fmt: skip
        go.form_submit_button(
            "Bring in", icon=":material/upload:", key="bring in", width="stretch",
            on_click=_correct, args=(case.address, turn),
        )  # fmt: skip


def _correct(address: str, turn: int) -> None:
    file = st.session_state.get(f"mask {turn}")
    base = st.session_state[f"base {turn}"]
    reason = str(st.session_state.get(f"corrected because {turn}") or "").strip()

    def done(bench: Workbench) -> str:
        if file is None:
            raise UsageError("Choose the corrected mask first, a .nii.gz or .nii file.")
        if file.size > LARGEST_MB * 2**20:
            raise UsageError(
                f"{file.name} has {file.size / 2**20:.0f} MB; a mask of at most {LARGEST_MB} MB is taken"
            )
        if not reason:
            raise UsageError("Write first what was wrong with the mask.")
        mask = Uploaded(file.name, file.getvalue())
        merge = bool(st.session_state.get(f"merge {turn}"))
        return _corrected(correct(bench, f"{address}@{base}", mask, reason, merge_newer=merge))

    act("correct a mask", address, done)


def _corrected(done: Corrected) -> str:
    def titles(names: Iterable[str]) -> str:
        return ", ".join(BY_NAME[name].title for name in names)

    if done.after is None:
        return f"No voxel differs from version {done.before}: nothing is written."
    said = [f"This is version {done.after}. Yours now: {titles(done.corrected) or 'no class'}."]
    if done.erased:
        said.append(
            f"Erased altogether, so missing: {titles(done.erased)}; say absent if it is not in the patient."
        )
    if done.no_longer_accepted:
        said.append(f"Accepted as drawn before, so no longer: {titles(done.no_longer_accepted)}.")
    if done.conflicts:
        said.append("What you and others had changed differently stands among the conflicts.")
    return " ".join([*said, *done.notes])
