"""`make bench`: run every benchmark, one after the other, and print their tables."""

import subprocess
import sys

BENCHMARKS = {
    "census": "Census and components",
    "complement": "Complement of a case",
    "history": "Diff and blame",
    "metrics": "DSC and NSD",
    "datasets": "Freeze and export",
    "ingest": "Ingest of tiny masks, and bare catalog rows",
    "million": "A catalog of a million cases",
    "dashboard": "The dashboard's pages, and 20 people at once",
    "student": "The student at the paper's size",
    "review": "The worklist of a review",
    "upkeep": "Verify, and ingest of what is known",
}


def main() -> None:
    """Run all of them with their defaults, each in a process of its own: most bind theirs to one core."""
    for module, title in BENCHMARKS.items():
        print(f"\n## {title}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], check=True)


if __name__ == "__main__":
    main()
