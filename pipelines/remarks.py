"""Remarks: what many cases of a run have in common, said once for all of them instead of once for each."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from curation.labels import BY_ID
from curation.protocol import OUTSIDE_PROTOCOL
from pipelines.folders import CaseFiles
from pipelines.incoming import Measured

# How many names a line shows before it only counts the rest.
_SHOWN = 5


@dataclass
class Remarks:
    """What was seen so far; every counter takes a name to the number of cases."""

    passed_over: Counter[str] = field(default_factory=Counter)
    passed_over_in: int = 0
    unfiled: Counter[str] = field(default_factory=Counter)
    unfiled_in: int = 0
    outside: Counter[str] = field(default_factory=Counter)
    outside_in: int = 0

    def see_files(self, cases: Iterable[CaseFiles]) -> None:
        """Notice the files that nobody asked for in folders with one file per class."""
        for case in cases:
            self.passed_over.update(case.passed_over)
            self.passed_over_in += bool(case.passed_over)

    def see(self, measured: Measured) -> None:
        """Notice what is to be told of one case that gets a version."""
        self.unfiled.update(BY_ID[class_id].name for class_id in measured.unfiled)
        self.unfiled_in += bool(measured.unfiled)
        outside = {f.class_id for f in measured.findings if f.check == OUTSIDE_PROTOCOL}
        self.outside.update(BY_ID[class_id].name for class_id in outside if class_id is not None)
        self.outside_in += bool(outside)

    def lines(self, source: str, mapping: str) -> Iterator[str]:
        """The lines to be noted at the end of the run."""
        if self.passed_over:
            names = ", ".join(sorted(self.passed_over)[:_SHOWN])
            more = len(self.passed_over) - _SHOWN
            yield (
                f"{source}: in {_cases(self.passed_over_in)} files were passed over that [parts] of mapping "
                f"'{mapping}' does not name, {self.passed_over.total()} in all: {names}"
                f"{f' and {more} more names' if more > 0 else ''}; name there what is wanted"
            )
        if self.unfiled:
            yield (
                f"{source}: classes that the protocol names have no file in {_cases(self.unfiled_in)} "
                f"({_counted(self.unfiled)}) and are missing there, not absent; if they were looked for, say so in "
                "the column 'classes' of --cases"
            )
        if self.outside:
            yield (
                f"{source}: classes are drawn that the protocol does not name, in {_cases(self.outside_in)} "
                f"({_counted(self.outside)}); the voxels count, but one of the two is wrong: "
                f"`maskledger quality --check {OUTSIDE_PROTOCOL}` lists them with what to do"
            )


def _cases(number: int) -> str:
    return f"{number} case{'' if number == 1 else 's'}"


def _counted(names: Counter[str]) -> str:
    """E.g. ``spleen in 12, liver in 3``; the commonest first."""
    ranked = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} in {cases}" for name, cases in ranked)
