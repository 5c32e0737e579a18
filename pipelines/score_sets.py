"""One model on several sets of cases, as Table 5 of the paper puts them side by side: by source and role."""

from db.queries import EvaluationRow, evaluations, scored_sets
from pipelines.compare import Comparison, compare_scores
from pipelines.runs import Workbench


def scores_by_set(bench: Workbench, model: str, protocol: str) -> dict[str, Comparison]:
    """A model's mean scores on each set of cases (``SOURCE, ROLE``) that it was scored on; none without scores."""
    with bench.catalog.reading() as session:
        sets = scored_sets(session, model, protocol)
        rows = evaluations(session, model=model, protocol=protocol)
    by_case: dict[int, list[EvaluationRow]] = {}
    for row in rows:
        by_case.setdefault(row.case_id, []).append(row)
    return {
        of.title: compare_scores(
            {model: [row for case_id in sorted(of.case_ids) for row in by_case.get(case_id, ())]},
            protocol,
            model,
            resamples=0,
        )
        for of in sets
    }
