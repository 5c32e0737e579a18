"""Repair: stored files that are lost or damaged, taken back from what the sources still hold."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.errors import CurationError
from curation.labels import CLASS_IDS, IGNORE, UNRESOLVED_BY_VALUE
from curation.mappings import LabelMapping, apply_mapping, builtin_names, load_builtin
from curation.rle import RunLengths
from curation.sides import resolve_sides
from curation.volumes import Geometry, decode_mask, encode_and_hash
from db import stored_files, writes
from db.stored_files import Incoming, StoredFile
from pipelines.incoming import decode_incoming
from pipelines.runs import Workbench
from pipelines.verify import Damage

# Stored values as they are: how a correction reads, and a prediction whose mapping's name says nothing to us.
_AS_STORED = LabelMapping(
    name="as stored", values={v: v for v in (*CLASS_IDS, *UNRESOLVED_BY_VALUE, IGNORE)}, protocol=None
)


@dataclass(frozen=True)
class Repairs:
    """What was put right, one line each, and the damages that are left, with why."""

    done: tuple[str, ...]
    left: tuple[Damage, ...]


@dataclass(frozen=True)
class _Found:
    """Bytes that are the right ones for a damaged file, and where they come from."""

    data: bytes
    source: str


class _BeyondError(Exception):
    """Nothing that is left here makes the file again; the message says why."""


def repair(bench: Workbench, damages: Sequence[Damage]) -> Repairs:
    """Put damaged and lost files right, each as far as something still holds what they held.

    Bytes that came in are read where they were read first, and taken if their hash is still the same. A mask
    that was made of such bytes alone is made of them again, and taken if its voxel hash is the row's.
    Damaged files are set aside below the store, not deleted. Every repair is booked as an event.

    Args:
        bench: What to work with.
        damages: From `verify`.

    Returns:
        What was done, and the damages that only a backup can put right.
    """
    done: list[str] = []
    left: list[Damage] = []
    # What came in first: masks are made of it.
    order = sorted(damages, key=lambda damage: bool(damage.file and damage.file.claims))
    bench.progress.start("repair", len(order))
    for number, damage in enumerate(order, 1):
        if damage.file is None:
            left.append(damage)  # of the catalog, not of a file
        else:
            try:
                done.append(_put_right(bench, damage.file, _find(bench, damage.file)))
            except _BeyondError as reason:
                left.append(Damage(f"{damage.line}; cannot be repaired: {reason}", damage.file))
        bench.progress.step(number)
    bench.progress.finish()
    return Repairs(tuple(done), tuple(left))


def _put_right(bench: Workbench, file: StoredFile, found: _Found) -> str:
    """Put the right bytes in the place of a damaged file, and book it."""
    name = hashlib.sha256(found.data).hexdigest()
    parameters = {"file": file.hash, "from": found.source}
    line = f"{bench.store.path(name)}: taken back from {found.source}; needed by {file.needed_by}"
    if name != file.hash:
        # Another release of the compressing library: the same mask in other bytes, so under another name.
        parameters["now"] = name
        line += f" (the same voxels in other bytes than {file.hash[:12]}…)"
        bench.store.put(found.data)
    else:
        bench.store.set_aside(file.hash)
        bench.store.put(found.data)
    with bench.catalog.writing() as session:
        if name != file.hash:
            stored_files.rename(session, file.hash, name)
        writes.add_event(
            session, author=bench.author, action="repair", subject=file.needed_by, parameters=parameters,
            program_version=bench.program_version,
        )  # fmt: skip
    if name != file.hash:
        bench.store.set_aside(file.hash)
    return line


def _find(bench: Workbench, file: StoredFile) -> _Found:
    """What makes a file again.

    Raises:
        _BeyondError: Nothing does.
    """
    reasons = []
    for attempt in (_as_it_came, _from_a_twin, _made_again):
        try:
            return attempt(bench, file)
        except _BeyondError as reason:
            if str(reason):
                reasons.append(str(reason))
    raise _BeyondError("; ".join(reasons))


def _as_it_came(bench: Workbench, file: StoredFile) -> _Found:
    """The bytes where they were read when they came in."""
    with bench.catalog.reading() as session:
        places = stored_files.places_of(session, file.hash)
    for place in places:
        data = _bytes_of(place, file.hash)
        if data is not None:
            return _Found(data, place)
    if places:
        raise _BeyondError(f"{', '.join(places)} is gone or holds something else now")
    if file.map_of and not file.claims:
        raise _BeyondError(
            "a map of probabilities is made by predicting; `predict MODEL CASE --probabilities` makes a new one"
        )
    raise _BeyondError("" if file.claims else "nobody noted where it was read")


def _from_a_twin(bench: Workbench, file: StoredFile) -> _Found:
    """Another stored file that holds the same mask in other bytes."""
    wanted = _voxel_hash(file)
    with bench.catalog.reading() as session:
        names = [name for name in stored_files.twins(session, wanted) if name != file.hash]
    for name in names:
        try:
            geometry, runs = decode_mask(bench.store.intact(name), name)
        except CurationError:
            continue  # damaged too
        data, voxel_hash = encode_and_hash(runs, geometry)
        if voxel_hash == wanted:
            return _Found(data, str(bench.store.path(name)))
    raise _BeyondError


def _made_again(bench: Workbench, file: StoredFile) -> _Found:
    """The mask, decoded and mapped as it was from what came in for it."""
    wanted = _voxel_hash(file)
    with bench.catalog.reading() as session:
        sources = stored_files.made_from(session, file.claims)
        places = {source.hash: stored_files.places_of(session, source.hash) for source in sources}
    if not sources:
        raise _BeyondError("it was made from other versions, not from a file that came in")
    read = False
    for source in sources:
        for place, data in _came_in(bench, source, places[source.hash]):
            read = True
            for geometry, runs in _masks(source, data, place):
                made, voxel_hash = encode_and_hash(runs, geometry)
                if voxel_hash == wanted:
                    return _Found(made, place)
    if read:
        raise _BeyondError(
            "what came in makes another mask than this one, which was merged with an older version"
        )
    raise _BeyondError("what came in for it is lost, too")


def _voxel_hash(file: StoredFile) -> str:
    """The voxel hash that all rows state of a file."""
    stated = {claim.voxel_hash for claim in file.claims}
    if len(stated) != 1:
        raise _BeyondError("")
    return stated.pop()


def _came_in(bench: Workbench, source: Incoming, places: list[str]) -> Iterator[tuple[str, bytes]]:
    """The bytes that came in, from wherever they are still whole."""
    if source.in_store:
        with contextlib.suppress(CurationError):
            yield str(bench.store.path(source.hash)), bench.store.intact(source.hash)
    for place in places:
        data = _bytes_of(place, source.hash)
        if data is not None:
            yield place, data


def _bytes_of(place: str, name: str) -> bytes | None:
    """A file's bytes if they are still those of a hash."""
    try:
        data = Path(place).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == name else None


def _masks(source: Incoming, data: bytes, place: str) -> Iterator[tuple[Geometry, RunLengths]]:
    """What the bytes read as, by every mapping that may have been the one."""
    if source.mapping is not None:
        values = {int(value): int(target) for value, target in source.mapping.items()}
        mappings = [LabelMapping(name=source.mapping_name or "", values=values)]
    else:
        # The voxel hash tells whether we guessed right.
        builtin = source.mapping_name in builtin_names()
        mappings = [load_builtin(source.mapping_name or "")] if builtin else []
        mappings.append(_AS_STORED)
    for mapping in mappings:
        try:
            geometry, raw = decode_incoming(data, place)
            mapped = apply_mapping(raw, mapping, place)
        except CurationError:
            continue
        yield geometry, resolve_sides(mapped, geometry).runs
        yield geometry, mapped  # as it was stored before sides were told, and as predictions are
