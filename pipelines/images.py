"""Image facts: each case's image is read once, and again when its file changes or a class was drawn anew."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from sqlalchemy.orm import Session

from curation.errors import CurationError
from curation.images import ImageLook, look_at_image
from curation.volumes import decode_geometry, decode_mask
from db.image_state import KnownImage, known_images
from db.store import Store
from db.writes.images import SeenFile, record_image
from pipelines.runs import Booking, Workbench, map_cases


@dataclass(frozen=True)
class _Job:
    image: KnownImage
    store: Store


@dataclass(frozen=True)
class _Seen:
    """What a worker saw; `problem` says why it saw nothing. `version_id`: whose classes were measured."""

    image: KnownImage
    file: SeenFile | None = None
    look: ImageLook | None = None
    version_id: int | None = None
    problem: str | None = None


def read_images(
    bench: Workbench,
    booking: Booking,
    *,
    source_id: int | None = None,
    case_ids: Collection[int] | None = None,
) -> int:
    """Look at the images of a source's cases, or of some cases, that were not seen as they are now.

    An image whose file is not at hand is no case's fault: what is known of it stays. One that cannot be read is
    noted.

    Args:
        bench: Catalog, store and workers.
        booking: The run that this is part of; everything queued in it is committed first.
        source_id: Whose images.
        case_ids: Or those of these cases.

    Returns:
        How many were read.
    """
    booking.flush()
    with bench.catalog.reading() as session:
        known = known_images(session, source_id=source_id, case_ids=case_ids)
    jobs = [_Job(image, bench.store) for image in known if _wants_a_look(image)]
    if not jobs:
        return 0
    bench.progress.start("images", len(jobs))
    for done, seen in enumerate(map_cases(bench, _look, jobs, len(jobs)), 1):
        address = seen.image.address
        if seen.problem:
            booking.note(address, seen.problem)
        elif seen.file is not None and seen.look is not None:
            booking.add(partial(_write, seen), address)
        bench.progress.step(done, address)
    booking.flush()
    bench.progress.finish()
    return len(jobs)


def read_image(bench: Workbench, case_id: int) -> None:
    """The same for one case and without a run, for what a person does by hand; says nothing of a bad image."""
    with bench.catalog.reading() as session:
        known = known_images(session, case_ids=[case_id])
    for image in known:
        seen = _look(_Job(image, bench.store)) if _wants_a_look(image) else None
        if seen is not None and seen.look is not None:
            with bench.catalog.writing() as session:
                _write(seen, session)


def _wants_a_look(image: KnownImage) -> bool:
    try:
        now = image.path.stat()
    except OSError:
        return False
    return image.unmeasured or image.seen != (now.st_size, now.st_mtime_ns)


def _look(job: _Job) -> _Seen:
    """Read one image with the newest mask of its case. Touches no database, so it runs in any worker."""
    image = job.image
    try:
        before = image.path.stat()
        runs = None
        if image.file_hash is not None:
            runs = decode_mask(job.store.get(image.file_hash), image.address)[1]
            with image.path.open("rb") as stream:
                grid = decode_geometry(stream, str(image.path))
            if grid.difference(image.geometry):
                runs = None
        with image.path.open("rb") as stream:
            look = look_at_image(stream, str(image.path), runs)
    except FileNotFoundError:
        return _Seen(image)
    except (CurationError, OSError) as error:
        told = str(error) if isinstance(error, CurationError) else f"{image.path}: {error.strerror}"
        return _Seen(image, problem=f"{told} (no facts of this image are known)")
    file = SeenFile(before.st_size, before.st_mtime_ns)
    return _Seen(image, file, look, image.version_id if runs is not None else None)


def _write(seen: _Seen, session: Session) -> None:
    assert seen.file is not None
    assert seen.look is not None
    record_image(session, seen.image.case_id, seen.version_id, seen.file, seen.look)
