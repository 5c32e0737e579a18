"""The routes beside the pages: volumes for the viewer, by hash and only with a signed address, and NiiVue itself.

Streamlit asks nobody who requests a route for a login. A page asks, and signs addresses for what it shows; the routes
give nothing without such a signature (docs/decisions/0019-signed-volumes.md).
"""

from collections.abc import Callable, Mapping

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from app.workspace import Workspace
from curation.errors import CurationError
from dashboards import niivue, signing
from dashboards.origin_colors import traced
from dashboards.session import workspace
from dashboards.slices import WINDOWS
from dashboards.volume_files import (
    VolumeFile,
    image_file,
    image_name,
    image_preview,
    mask_file,
    mask_grid,
    mask_preview,
    runs_file,
)
from db.queries.volumes import case_image, holds_mask

# Named by content: what a browser has fetched once stays right. Patients' data: no cache that others share.
_KEPT = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
_NOT_KEPT = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class NotHeldError(CurationError):
    """A volume that the catalog does not, or no longer, hold for the case."""


def mask_address(case_id: int, file_hash: str, *, half: bool) -> str:
    """A signed address of a version's or a prediction's mask, or of its preview."""
    return signing.signed(f"/volumes/mask/{file_hash}", {"case": str(case_id), "half": str(int(half))})


def image_address(case_id: int, name: str, grid_of: str | None, window: str | None) -> str:
    """A signed address of a case's image.

    Args:
        case_id: Whose image.
        name: `image_name`: it changes with the voxels.
        grid_of: Hash of the mask on whose grid it is laid; None: on its own.
        window: Which window's preview; None: the whole image.
    """
    about = {"case": str(case_id), "grid": grid_of or "", "window": window or ""}
    return signing.signed(f"/volumes/image/{name}", about)


def origin_address(case_id: int, address: str, file_hash: str, *, half: bool) -> str:
    """A signed address of the volume that says who drew each voxel of a version (``SOURCE/NAME@N``)."""
    about = {"case": str(case_id), "version": address, "half": str(int(half))}
    return signing.signed(f"/volumes/origin/{file_hash}", about)


def _mask(ws: Workspace, name: str, about: Mapping[str, str]) -> VolumeFile:
    _require_held(ws, int(about["case"]), name)
    return (mask_preview if about["half"] == "1" else mask_file)(ws.store, name)


def _image(ws: Workspace, name: str, about: Mapping[str, str]) -> VolumeFile:
    with ws.catalog.reading() as session:
        image = case_image(session, int(about["case"]))
    if image is None or image_name(image) != name:
        raise NotHeldError("The case no longer has this image; load its page again.")
    grid = None
    if about["grid"]:
        _require_held(ws, int(about["case"]), about["grid"])
        grid = mask_grid(ws.store, about["grid"])
    if about["window"]:
        return image_preview(image, WINDOWS[about["window"]], grid)
    return image_file(image, grid)


def _origin(ws: Workspace, name: str, about: Mapping[str, str]) -> VolumeFile:
    _require_held(ws, int(about["case"]), name)
    found = traced(ws, about["version"], name)
    return runs_file(found.label_map, found.geometry, half=about["half"] == "1")


def _require_held(ws: Workspace, case_id: int, file_hash: str) -> None:
    with ws.catalog.reading() as session:
        if not holds_mask(session, case_id, file_hash):
            raise NotHeldError(
                "The case no longer holds this mask, perhaps it was purged; load its page again."
            )


_KINDS: dict[str, Callable[[Workspace, str, Mapping[str, str]], VolumeFile]] = {
    "mask": _mask,
    "image": _image,
    "origin": _origin,
}


async def _volume(request: Request) -> Response:
    return await run_in_threadpool(_answer, request)


def _answer(request: Request) -> Response:
    """A volume, or one sentence that says why there is none."""
    kind, name = request.path_params["kind"], request.path_params["name"]
    try:
        about = signing.opened(request.url.path, request.url.query)
        file = _KINDS[kind](workspace(), name, about)
    except signing.AddressError as error:
        return PlainTextResponse(str(error), 403, _NOT_KEPT)
    except CurationError as error:
        return PlainTextResponse(str(error), 404, _NOT_KEPT)
    except SQLAlchemyError:
        return PlainTextResponse("The catalog's database gives no answer; try again.", 503, _NOT_KEPT)
    # An encoding is named in any case, or Streamlit's middleware would compress what is large and wanted fast.
    headers = {"Content-Encoding": "gzip" if file.packed else "identity", "Content-Length": str(file.size)}
    return StreamingResponse(file.chunks(), 200, headers | _KEPT, "application/octet-stream")


async def _engine(request: Request) -> Response:
    found = niivue.installed()
    if found is None or request.path_params["version"] != found.version:
        return PlainTextResponse(
            f"NiiVue is not installed in this version; run `{niivue.INSTALL}`.", 404, _NOT_KEPT
        )
    data = await run_in_threadpool(niivue.packed, found.file)
    return Response(data, 200, {"Content-Encoding": "gzip"} | _KEPT, "text/javascript")


ROUTES = [
    Route("/volumes/{kind}/{name}", _volume, methods=["GET"]),
    Route("/viewer/niivue-{version}.js", _engine, methods=["GET"]),
]
