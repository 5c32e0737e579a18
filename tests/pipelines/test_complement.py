"""Complement: what a prediction may fill, what it may not, and what is booked of both."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volume_files import AFFINE, SHAPE, write_image, write_volume

from curation.errors import UsageError
from curation.mappings import load_builtin
from curation.status import Origin, Status
from db import case_files, offers, queries, writes
from db.models import Verdict, VersionKind
from pipelines.combine import Combination, combine
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions

FLARE = load_builtin("flare23")
LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, LEFT_KIDNEY, TUMOR = 1, 2, 3, 4, 13, 14


def take(bench, folder: Path, mask, name="A", mapping=FLARE, **options):
    write_volume(folder / "l" / f"{name}.nii.gz", mask)
    return ingest(bench, IngestRequest(source="S", mapping=mapping, labels=folder / "l", **options))


def predicted(bench, folder: Path, mask, name="A", model="M", affine=AFFINE):
    write_volume(folder / f"p-{model}" / f"{name}.nii.gz", mask, affine)
    return import_predictions(bench, folder / f"p-{model}", model, FLARE)


def newest(bench, address="S/A"):
    with bench.catalog.reading() as session:
        return case_files.case_file(session, address)


def detail(bench, address="S/A"):
    with bench.catalog.reading() as session:
        return queries.version_detail(session, queries.resolve(session, address).version_id)


def voxels(bench, address="S/A"):
    return np.asarray(nib.load(bench.store.path(newest(bench, address).file_hash)).dataobj)


def kept_and_offered():
    """Kept: a liver of 4×4×4 with a tumor of 8 voxels in it. Offered: liver elsewhere, spleen over both."""
    kept = np.zeros(SHAPE, np.uint8)
    kept[1:5, 1:5, 1:5] = LIVER
    kept[2:4, 2:4, 2:4] = TUMOR
    offered = np.zeros(SHAPE, np.uint8)
    offered[3:9, 2:4, 2:4] = SPLEEN  # 6×2×2 = 24 voxels, of which x = 3, 4 lie on the kept mask
    offered[1:5, 6:9, 1:5] = LIVER
    return kept, offered


def test_a_missing_class_is_filled_where_background_was_and_only_there(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    predicted(bench, tmp_path, offered)
    assert complement(bench, "", "M").counts == {"complemented": 1}
    # By hand, the paper's rule: the predicted liver is dropped, because the class was drawn; the
    # predicted spleen takes its 16 background voxels of 24.
    expected = kept.copy()
    expected[5:9, 2:4, 2:4] = SPLEEN
    assert np.array_equal(voxels(bench), expected)
    spleen = newest(bench).annotations[SPLEEN]
    assert (spleen.status, spleen.origin, spleen.voxels) == (Status.ANNOTATED, Origin.PSEUDO, 16)
    assert newest(bench).annotations[LIVER].origin is Origin.ORIGINAL


def test_what_original_foreground_kept_out_is_booked_in_voxels_and_ml(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    predicted(bench, tmp_path, offered)
    complement(bench, "", "M")
    # On x = 3 lie 4 tumor voxels, on x = 4 lie 4 liver voxels; a voxel is 0.01 ml.
    found = {(c.kept, c.offered): (c.voxels, c.ml) for c in detail(bench).conflicts}
    assert found == {(TUMOR, SPLEEN): (4, pytest.approx(0.04)), (LIVER, SPLEEN): (4, pytest.approx(0.04))}


def test_the_new_version_has_its_parent_and_the_old_one_is_untouched(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    first = newest(bench)
    predicted(bench, tmp_path, offered)
    complement(bench, "", "M")
    with bench.catalog.reading() as session:
        history = queries.history(session, first.case_id)
    assert [(v.number, v.parent, v.kind) for v in history] == [
        (1, None, VersionKind.INGESTED),
        (2, 1, VersionKind.COMPLEMENTED),
    ]
    assert np.array_equal(np.asarray(nib.load(bench.store.path(first.file_hash)).dataobj), kept)


def test_a_second_complement_changes_nothing(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    predicted(bench, tmp_path, offered)
    complement(bench, "", "M")
    assert complement(bench, "", "M").counts == {"nothing to add": 1}
    assert newest(bench).number == 2


def test_only_the_largest_piece_of_an_organ_is_taken_unless_all_are_asked_for(bench, tmp_path):
    kept = np.zeros(SHAPE, np.uint8)
    kept[1, 1, 1] = LIVER
    offered = np.zeros(SHAPE, np.uint8)
    offered[4:8, 4, 4] = SPLEEN
    offered[10, 8, 6] = SPLEEN
    for name, largest_only, count in (("A", True, 4), ("B", False, 5)):
        take(bench, tmp_path / name, kept, name)
        predicted(bench, tmp_path / name, offered, name)
        complement(bench, f'case = "S/{name}"', "M", largest_only=largest_only)
        assert newest(bench, f"S/{name}").annotations[SPLEEN].voxels == count


def test_a_side_whose_pair_is_unresolved_is_not_filled_and_its_voxels_are_protected(bench, tmp_path):
    kits = np.zeros(SHAPE, np.uint8)
    kits[1:4, 1:4, 1:4] = 1  # KiTS: kidney without a side
    take(bench, tmp_path, kits, mapping=load_builtin("kits19"))
    offered = np.zeros(SHAPE, np.uint8)
    offered[6:9, 1:4, 1:4] = RIGHT_KIDNEY
    offered[3:6, 1:4, 1:4] = SPLEEN  # x = 3 lies on the unresolved kidney: 9 voxels
    predicted(bench, tmp_path, offered)
    complement(bench, "", "M")
    case = newest(bench)
    assert case.annotations[RIGHT_KIDNEY].status is Status.MISSING
    assert case.annotations[SPLEEN].voxels == 18
    assert int((voxels(bench) == 200).sum()) == 27
    assert [(c.kept, c.offered, c.voxels) for c in detail(bench).conflicts] == [(200, SPLEEN, 9)]


def test_an_absent_class_is_not_filled(bench, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 1:4, 1:4] = 1
    take(bench, tmp_path, mask, mapping=load_builtin("kits19"))  # looked for tumors, found none
    offered = np.zeros(SHAPE, np.uint8)
    offered[6:9, 1:4, 1:4] = TUMOR
    predicted(bench, tmp_path, offered)
    assert complement(bench, "", "M").counts == {"nothing to add": 1}


def test_a_class_that_the_model_finds_nowhere_stays_missing(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    predicted(bench, tmp_path, offered)
    complement(bench, "", "M")
    assert newest(bench).annotations[PANCREAS].status is Status.MISSING
    with bench.catalog.reading() as session:
        (prediction,) = queries.predictions_for(session, newest(bench).case_id)
    assert next(c for c in prediction.classes if c.class_id == PANCREAS).voxels == 0


def test_a_rejected_pseudo_label_is_not_filled_again_by_the_same_model(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    predicted(bench, tmp_path, offered)
    predicted(bench, tmp_path, offered, model="N")
    with bench.catalog.writing() as session:
        model_id = queries.model(session, "M").id
        writes.add_decision(
            session,
            newest(bench).case_id,
            SPLEEN,
            None,
            Verdict.REJECTED,
            reason="wrong",
            person="Ada",
            model_id=model_id,
        )
    assert complement(bench, "", "M").counts == {"nothing to add": 1}
    assert complement(bench, "", "N").counts == {"complemented": 1}


def test_an_image_without_mask_is_filled_from_nothing(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, images=tmp_path / "i"))
    _, offered = kept_and_offered()
    predicted(bench, tmp_path, offered)
    complement(bench, "unlabeled", "M")
    assert newest(bench).annotated == {LIVER, SPLEEN}
    assert np.array_equal(voxels(bench), offered)


def test_a_complete_case_is_never_strong_after_complement(bench, tmp_path):
    twelve = np.zeros(SHAPE, np.uint8)
    for class_id in range(1, 13):
        twelve[class_id % 12, class_id // 12 + 1, 1] = class_id
    take(bench, tmp_path, twelve)
    offered = np.zeros(SHAPE, np.uint8)
    offered[5:8, 5:8, 5] = LEFT_KIDNEY
    predicted(bench, tmp_path, offered)
    complement(bench, "", "M")
    with bench.catalog.reading() as session:
        counts = [queries.count(session, word) for word in ("complete", "strong", "weak")]
    assert counts == [1, 0, 1]


def test_agreement_is_the_dice_with_the_annotated_class(bench, tmp_path):
    kept, offered = kept_and_offered()
    offered[1:5, 1:3, 1:5] = LIVER  # 4×2×4 of it on the kept liver, less where the tumor stands
    take(bench, tmp_path, kept)
    predicted(bench, tmp_path, offered)
    with bench.catalog.reading() as session:
        (prediction,) = queries.predictions_for(session, newest(bench).case_id)
    liver = next(c for c in prediction.classes if c.class_id == LIVER)
    both = int(((kept == LIVER) & (offered == LIVER)).sum())
    expected = 2 * both / (int((kept == LIVER).sum()) + int((offered == LIVER).sum()))
    assert liver.agreement == pytest.approx(expected)


def test_predictions_on_another_grid_or_for_unknown_cases_are_refused_while_others_go_on(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    take(bench, tmp_path, kept, "B")
    write_volume(tmp_path / "p-M" / "B.nii.gz", offered, np.diag([2.0, 2.0, 5.0, 1.0]))
    write_volume(tmp_path / "p-M" / "Z.nii.gz", offered)
    outcome = predicted(bench, tmp_path, offered)
    assert outcome.counts == {"imported": 1}
    lines = sorted(outcome.refused)
    assert "spacing (2, 2, 5) against (2, 2, 2.5) mm" in lines[0]
    assert "unknown case 'Z'" in lines[1]


def test_importing_the_same_predictions_again_changes_nothing(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    predicted(bench, tmp_path, offered)
    assert predicted(bench, tmp_path, offered).counts == {"unchanged": 1}


def test_a_name_that_two_sources_share_wants_the_source(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    ingest(bench, IngestRequest(source="T", mapping=FLARE, labels=tmp_path / "l"))
    assert "S/A" in predicted(bench, tmp_path, offered).refused[0]
    assert import_predictions(bench, tmp_path / "p-M", "M", FLARE, source="T").counts == {"imported": 1}


def test_an_unknown_model_is_wrong_usage_and_lists_the_known(bench, tmp_path):
    kept, offered = kept_and_offered()
    take(bench, tmp_path, kept)
    predicted(bench, tmp_path, offered)
    with pytest.raises(UsageError, match="unknown model 'X'; known models: M"):
        complement(bench, "", "X")


def two_models(bench, folder: Path):
    """A liver, and two models that draw the spleen: M at x 5 to 8, N at x 6 to 9, 2×2 voxels each."""
    kept = np.zeros(SHAPE, np.uint8)
    kept[1:5, 1:5, 1:5] = LIVER
    take(bench, folder, kept)
    for model, first in (("M", 5), ("N", 6)):
        offered = np.zeros(SHAPE, np.uint8)
        offered[first : first + 4, 2:4, 2:4] = SPLEEN
        offered[1:3, 7:9, 2:4] = PANCREAS if model == "M" else 0
        predicted(bench, folder, offered, model=model)


def test_a_better_model_replaces_the_pseudo_labels_that_nobody_accepted(bench, tmp_path):
    two_models(bench, tmp_path)
    complement(bench, "", "M")
    assert complement(bench, "", "N").counts == {"nothing to add": 1}
    assert complement(bench, "", "N", replace_pseudo=True).counts == {"complemented": 1}
    mask = voxels(bench)
    assert int((mask[5] == SPLEEN).sum()) == 0
    assert int((mask[9] == SPLEEN).sum()) == 4
    # N found no pancreas: what M drew stays, and is M's.
    with bench.catalog.reading() as session:
        drawn_by = {row.class_id: row.model for row in queries.annotations(session, newest(bench).version_id)}
    assert (drawn_by[SPLEEN], drawn_by[PANCREAS]) == ("N", "M")
    assert [(c.kept, c.offered, c.displaced, c.voxels) for c in detail(bench).conflicts] == [
        (0, SPLEEN, True, 4)
    ]
    assert complement(bench, "", "N", replace_pseudo=True).counts == {"nothing to add": 1}


def test_an_accepted_pseudo_label_is_not_replaced(bench, tmp_path):
    two_models(bench, tmp_path)
    complement(bench, "", "M")
    case = newest(bench)
    with bench.catalog.writing() as session:
        writes.add_decision(
            session, case.case_id, SPLEEN, case.annotations[SPLEEN].class_hash, Verdict.ACCEPTED,
            reason="good", person="Ada",
        )  # fmt: skip
    assert complement(bench, "", "N", replace_pseudo=True).counts == {"nothing to add": 1}
    assert newest(bench).number == 2


def test_a_model_that_predicts_again_redraws_its_own_pseudo_labels(bench, tmp_path):
    two_models(bench, tmp_path)
    complement(bench, "", "M")
    offered = np.zeros(SHAPE, np.uint8)
    offered[5:9, 5:7, 2:4] = SPLEEN
    predicted(bench, tmp_path, offered)
    with bench.catalog.reading() as session:
        assert queries.count(session, "stale") == 1
    complement(bench, "stale", "M")
    assert np.array_equal(voxels(bench) == SPLEEN, offered == SPLEEN)
    with bench.catalog.reading() as session:
        # The pancreas, which M does not find any more, still stands on the earlier prediction.
        assert queries.count(session, "stale") == 1
        assert (
            queries.version_detail(session, newest(bench).version_id).row.message
            == "drew 1 class anew from M"
        )


def test_two_predictions_combined_fill_what_both_say_and_are_booked_with_their_parts(bench, tmp_path):
    two_models(bench, tmp_path)
    both = Combination(("M", "N"))
    assert combine(bench, "", both).counts == {"combined": 1}
    complement(bench, "", both.name)
    mask = voxels(bench)
    assert sorted(set(np.argwhere(mask == SPLEEN)[:, 0].tolist())) == [6, 7, 8]
    assert int((mask == PANCREAS).sum()) == 0
    assert combine(bench, "", both).counts == {"without new parts": 1}
    with bench.catalog.reading() as session:
        (combined,) = [
            p for p in queries.predictions_for(session, newest(bench).case_id) if p.model == both.name
        ]
        parts = offers.parts_of(session, [combined.id])
        others = {p.id for p in queries.predictions_for(session, newest(bench).case_id)} - {combined.id}
    assert (combined.model, parts) == ("majority(M,N)", {combined.id: others})


def test_where_two_models_agree_the_first_ones_drawing_is_taken(bench, tmp_path):
    two_models(bench, tmp_path)
    combination = Combination(("N", "M"), 0.75)  # spleen: 2·12 / (16 + 16) = 0.75
    combine(bench, "", combination)
    complement(bench, "", combination.name)
    assert sorted(set(np.argwhere(voxels(bench) == SPLEEN)[:, 0].tolist())) == [6, 7, 8, 9]
    combine(bench, "", Combination(("N", "M"), 0.76))
    assert complement(bench, "", "agree0.76(N,M)", replace_pseudo=True).counts == {"nothing to add": 1}


def test_a_combination_of_combinations_knows_every_prediction_that_it_stands_on(bench, tmp_path):
    two_models(bench, tmp_path)
    combine(bench, "", Combination(("M", "N")))
    above = Combination(("M", "majority(M,N)"))
    assert combine(bench, "", above).counts == {"combined": 1}
    assert combine(bench, "", above).counts == {"without new parts": 1}
    with bench.catalog.reading() as session:
        ids = {p.model: p.id for p in queries.predictions_for(session, newest(bench).case_id)}
        assert offers.parts_of(session, [ids[above.name]])[ids[above.name]] == {
            ids["M"], ids["N"], ids["majority(M,N)"],
        }  # fmt: skip


def test_combining_a_model_with_itself_is_wrong_usage(bench, tmp_path):
    two_models(bench, tmp_path)
    with pytest.raises(UsageError, match="2 to 7 different models"):
        combine(bench, "", Combination(("M", "M")))
