"""What the charts show of given numbers."""

import pytest

from curation.labels import BY_NAME, CLASS_NAMES
from dashboards import chart_queries, figures
from db.queries import COUNTED, EvaluationRow

LIVER = BY_NAME["liver"]


def counts(**of_liver: int) -> dict[str, dict[str, int]]:
    """Counts of every class: 10 cases missing, but the liver as given."""
    classes = {name: dict.fromkeys(COUNTED, 0) | {"missing": 10} for name in CLASS_NAMES}
    classes["liver"] = dict.fromkeys(COUNTED, 0) | of_liver
    return classes


def bars(figure, name):
    """Class title to length of a layer's bars (the legend's twin has none)."""
    (layer,) = [t for t in figure.data if t.type == "bar" and t.name == name and t.x[0] is not None]
    return dict(zip(layer.y, layer.x, strict=True))


def test_the_distribution_of_flare23_is_the_papers_figure():
    # The authors' published counts; the paper's Fig. 2 has 888 cases with one label and 222 with thirteen.
    before = {1: 888, 4: 10, 5: 455, 6: 597, 9: 1, 11: 1, 12: 26, 13: 222}
    after = {13: 1312, 14: 888}
    left, right = figures.labels_per_case_figure(before, after).data
    assert list(left.x) == list(range(1, 15))
    assert dict(zip(left.x, left.y, strict=True)) == {n: before.get(n, 0) for n in range(1, 15)}
    assert right.y[12:] == (1312, 888)


def test_bars_one_to_thirteen_always_stand_there():
    (left, _) = figures.labels_per_case_figure({}, {}).data
    assert list(left.x) == list(range(1, 14))


def test_unlabeled_cases_have_a_bar_of_their_own():
    (left, right) = figures.labels_per_case_figure({0: 2}, {5: 2}).data
    assert (left.x[0], left.y[0], right.y[0]) == (0, 2, 0)


def test_titles_count_labels_and_cases():
    # 2 cases of 1 and 3 of 6 labels: 2 + 18 = 20 labels on 5 cases.
    figure = figures.labels_per_case_figure({1: 2, 6: 3}, {13: 5})
    assert [a.text for a in figure.layout.annotations] == [
        "As ingested: 20 labels on 5 cases",
        "Now: 65 labels on 5 cases",
    ]


def test_statuses_are_stacked_per_class():
    figure = figures.status_figure(counts(annotated=6, absent=1, missing=2, out_of_field=1))
    assert bars(figure, "annotated")["Liver"] == 6
    assert bars(figure, "absent")["Liver"] == 1
    assert bars(figure, "out of field")["Liver"] == 1
    assert bars(figure, "missing")["Liver"] == 2
    assert bars(figure, "missing")["Tumor"] == 10
    assert figure.layout.barmode == "stack"


def test_a_class_has_its_color_and_a_pseudo_label_a_hatch():
    figure = figures.origin_figure(counts(annotated=9, original=5, pseudo=3, corrected=1))
    layers = {t.name: t for t in figure.data if t.type == "bar" and t.x[0] is not None}
    for layer in layers.values():
        assert layer.marker.color[0] == LIVER.color
    assert [layers[name].marker.pattern.shape for name in ("original", "pseudo", "corrected")] == [
        "",
        "/",
        ".",
    ]
    (numbers,) = [t for t in figure.data if t.type == "scatter"]
    assert numbers.text[0].split() == ["+3", "pseudo", "+1", "corrected"]
    assert numbers.x[0] == 9


def test_the_heat_map_shows_the_share_of_a_sources_cases():
    figure = figures.source_figure({"A": counts(annotated=3, missing=1), "B": counts(missing=4)})
    heat = figure.data[0]
    assert heat.z[0][0] == pytest.approx(0.75)
    # What is pointed at and clicked are squares over the cells, source by source.
    cells = figure.data[1]
    assert (cells.x[0], cells.y[0], cells.text[0]) == ("Liver", "A", "75%")
    assert list(cells.customdata[0]) == ['has liver and source = "A"', "3 of 4 cases"]
    assert heat.z[1][0] == 0
    assert list(heat.y) == ["A", "B"]


def test_every_bar_carries_the_query_that_it_stands_for():
    (before, after) = figures.labels_per_case_figure({1: 2}, {13: 2}).data
    assert list(before.customdata[0]) == ["labels = 1", figures.BEFORE]
    assert list(after.customdata[-1]) == ["labels = 13", figures.AFTER]
    layers = [t for t in figures.status_figure(counts()).data if t.x[0] is not None]
    assert [t.customdata[3][0] for t in layers] == [
        "has pancreas",
        "absent pancreas",
        "out_of_field pancreas",
        "missing pancreas",
    ]
    layers = [t for t in figures.origin_figure(counts()).data if t.type == "bar" and t.x[0] is not None]
    assert [t.customdata[13][0] for t in layers] == ["original tumor", "pseudo tumor", "corrected tumor"]


@pytest.mark.parametrize(
    ("event", "carried"),
    [
        (None, []),
        ({}, []),
        ({"selection": {"points": []}}, []),
        ({"selection": {"points": [{"x": 1}]}}, []),
        ({"selection": {"points": [{"customdata": ["labels = 1", "before"]}]}}, ["labels = 1", "before"]),
        ({"selection": {"points": [{"customdata": "flagged"}]}}, ["flagged"]),
        ({"selection": {"points": [{"customdata": [{"not": "text"}]}]}}, []),
    ],
)
def test_a_click_gives_what_its_mark_carries_and_nothing_else(event, carried):
    assert chart_queries.clicked(event) == carried


def evaluation(model: str, class_name: str, dsc: float, nsd: float) -> EvaluationRow:
    return EvaluationRow(
        model, "S/a", 1, BY_NAME[class_name].id, class_name, "flare23", "ours", dsc, nsd, 1, 1, None, None
    )


def test_scores_are_shown_in_percent_a_box_per_model():
    rows = [evaluation("teacher", "liver", 0.9, 0.8), evaluation("student", "liver", 0.5, 0.4)]
    teacher, student = figures.scores_figure(rows, ["teacher", "student"], "dsc").data
    assert (teacher.x, teacher.y) == (("Liver",), (90.0,))
    assert student.y == (50.0,)
    (nsd,) = figures.scores_figure(rows, ["teacher"], "nsd").data
    assert nsd.y == (80.0,)


def test_curves_are_drawn_per_stage_losses_apart_from_scores():
    curves = [
        {"stage": "coarse", "epoch": 1, "loss": 0.9},
        {"stage": "coarse", "epoch": 2, "loss": 0.7, "dsc": 0.4},
        {
            "stage": "fine",
            "epoch": 1,
            "loss": 0.5,
            "val_dice_per_class": {"1": 0.5},
            "val_dice": float("nan"),
        },
    ]
    lines = {t.name: t for t in figures.curves_figure(curves).data}
    assert set(lines) == {"coarse loss", "coarse dsc", "fine loss"}
    assert (lines["coarse loss"].x, lines["coarse loss"].y) == ((1, 2), (0.9, 0.7))
    assert lines["coarse loss"].xaxis != lines["coarse dsc"].xaxis
