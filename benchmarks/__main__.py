"""`make bench`: run every benchmark, one after the other, and print their tables."""

from benchmarks import census_complement, complement, datasets, history, metrics, review, upkeep


def main() -> None:
    """Run all of them with their defaults."""
    for title, run in (
        ("Census and components", lambda: census_complement.main([])),
        ("Complement of a case", complement.main),
        ("Diff and blame", history.main),
        ("DSC and NSD", lambda: metrics.main([])),
        ("Freeze and export", lambda: datasets.main([])),
        ("The worklist of a review", lambda: review.main([])),
        ("Verify, and ingest of what is known", upkeep.main),
    ):
        print(f"\n## {title}\n", flush=True)
        run()


if __name__ == "__main__":
    main()
