"""The sources that come along say what their publishers say. Each order is written down here a second time, by hand."""

import pytest

from curation.labels import BACKGROUND, BY_NAME, UNRESOLVED_BY_NAME
from curation.mappings import builtin_names, load_builtin

# Structures with their publisher's number, in the publisher's words; None: no structure has the number.
# JunMa11/FLARE, FLARE22/Evaluation/FLARE22_DSC_NSD_Eval.py: label_tolerance, counted from 1.
FLARE22 = (
    "Liver",
    "RK",
    "Spleen",
    "Pancreas",
    "Aorta",
    "IVC",
    "RAG",
    "LAG",
    "Gallbladder",
    "Esophagus",
    "Stomach",
    "Duodenum",
    "LK",
)
# JunMa11/FLARE, FLARE23/FLARE23_DSC_NSD_Eval.py: the same and the tumor.
FLARE23 = (*FLARE22, "Tumor")
# README.md of neheller/kits19; KITS_LABEL_NAMES of neheller/kits21 and kits23 (configuration/labels.py).
KITS19 = ("kidney", "tumor")
KITS21 = ("kidney", "tumor", "cyst")
# LiTS challenge page: liver as label 1, lesion as label 2.
LITS = ("liver", "lesion")
# dataset.json of Medical Segmentation Decathlon tasks 3, 7, 8, 9 and 10.
MSD_LIVER = ("liver", "cancer")
MSD_PANCREAS = ("pancreas", "cancer")
MSD_HEPATIC_VESSEL = ("Vessel", "Tumour")
MSD_SPLEEN = ("spleen",)
MSD_COLON = ("colon cancer primaries",)
# The numbered list of synapse.org syn3193805, as in Task017 of MIC-DKFZ/nnUNet.
BTCV = (
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal vein and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland",
)  # fmt: skip
# dataset.json of AMOS22, with the publisher's spelling.
AMOS22 = (
    "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach", "arota", "postcava",
    "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus",
)  # fmt: skip
# abdomenct-1k-fully-supervised-learning.grand-challenge.org.
ABDOMENCT1K = ("liver", "kidney", "spleen", "pancreas")
# dataset.json of WORD v0.1.0, as in Dataset654_word.py of MIC-DKFZ/MultiTalent.
WORD = (
    "liver", "spleen", "left_kidney", "right_kidney", "stomach", "gallbladder", "esophagus", "pancreas", "duodenum",
    "colon", "intestine", "adrenal", "rectum", "bladder", "Head_of_femur_L", "Head_of_femur_R",
)  # fmt: skip
# class_map["total"] of wasserth/TotalSegmentator, totalsegmentator/map_to_binary.py, where it concerns us.
TOTALSEGMENTATOR = {
    1: "spleen", 2: "kidney_right", 3: "kidney_left", 4: "gallbladder", 5: "liver", 6: "stomach", 7: "pancreas",
    8: "adrenal_gland_right", 9: "adrenal_gland_left", 15: "esophagus", 19: "duodenum", 52: "aorta",
    63: "inferior_vena_cava",
}  # fmt: skip

# class_map_abdomenatlas_1_1 of MrGiovanni/SuPreM, supervised_pretraining/dataset/dataloader_bdmap.py, which counts
# from 0.
ABDOMENATLAS = (
    "aorta", "gall_bladder", "kidney_left", "kidney_right", "liver", "pancreas", "postcava", "spleen", "stomach",
    "adrenal_gland_left", "adrenal_gland_right", "bladder", "celiac_trunk", "colon", "duodenum", "esophagus",
    "femur_left", "femur_right", "hepatic_vessel", "intestine", "lung_left", "lung_right",
    "portal_vein_and_splenic_vein", "prostate", "rectum",
)  # fmt: skip
# class_map_abdomenatlas_pants of MrGiovanni/PanTS, data/README.md.
PANTS = (
    "adrenal_gland_left", "adrenal_gland_right", "aorta", "bladder", "celiac_artery", "colon", "common_bile_duct",
    "duodenum", "femur_left", "femur_right", "gall_bladder", "kidney_left", "kidney_right", "liver", "lung_left",
    "lung_right", "pancreas", "pancreas_body", "pancreas_head", "pancreas_tail", "pancreatic_duct", "postcava",
    "prostate", "spleen", "stomach", "superior_mesenteric_artery", "veins", "pancreatic_lesion",
)  # fmt: skip

# The publishers' words in ours. What is not in it has no class here.
OURS = {
    "liver": "liver",
    "spleen": "spleen",
    "pancreas": "pancreas", "pancreas body": "pancreas", "pancreas head": "pancreas", "pancreas tail": "pancreas",
    "aorta": "aorta", "arota": "aorta",
    "ivc": "inferior_vena_cava", "inferior vena cava": "inferior_vena_cava", "postcava": "inferior_vena_cava",
    "rk": "right_kidney", "right kidney": "right_kidney", "kidney right": "right_kidney",
    "lk": "left_kidney", "left kidney": "left_kidney", "kidney left": "left_kidney",
    "rag": "right_adrenal_gland", "right adrenal gland": "right_adrenal_gland",
    "adrenal gland right": "right_adrenal_gland",
    "lag": "left_adrenal_gland", "left adrenal gland": "left_adrenal_gland",
    "adrenal gland left": "left_adrenal_gland",
    "gallbladder": "gallbladder", "gall bladder": "gallbladder",
    "esophagus": "esophagus",
    "stomach": "stomach",
    "duodenum": "duodenum",
    "tumor": "tumor", "tumour": "tumor", "cancer": "tumor", "lesion": "tumor", "colon cancer primaries": "tumor",
    "pancreatic lesion": "tumor",
    "kidney": "kidney", "adrenal": "adrenal",
}  # fmt: skip

LEFT, RIGHT = "left_kidney", "right_kidney"
ADRENALS = {"left_adrenal_gland", "right_adrenal_gland"}
ORGANS = {
    "liver", LEFT, RIGHT, "spleen", "pancreas", "aorta", "inferior_vena_cava", *ADRENALS, "gallbladder", "esophagus",
    "stomach", "duodenum",
}  # fmt: skip

# Name: the publisher's order, what was looked for (None: nobody says), source, revision, licence (None: not stated).
PUBLISHED = {
    "abdomenatlas": (ABDOMENATLAS, None, "AbdomenAtlas", "1.1", "CC BY-NC-SA 4.0"),
    "abdomenct1k": (ABDOMENCT1K, {"liver", LEFT, RIGHT, "spleen", "pancreas"}, "AbdomenCT-1K", "2021", None),
    "amos22": (AMOS22, ORGANS, "AMOS22", "2022", "CC BY 4.0"),
    "btcv": (BTCV, ORGANS - {"duodenum"}, "BTCV", "2015", None),
    "chaos_ct": ({1: "liver", 255: "liver"}, {"liver"}, "CHAOS-CT", "2019", None),
    "flare22": (FLARE22, ORGANS, "FLARE22", "2022", None),
    "flare23": (FLARE23, None, "FLARE23", "2023", None),
    "kits19": (KITS19, {LEFT, RIGHT, "tumor"}, "KiTS", "2019", "CC BY-NC-SA 4.0"),
    "kits21": (KITS21, {LEFT, RIGHT, "tumor"}, "KiTS", "2021", "CC BY-NC-SA 4.0"),
    "kits23": (KITS21, {LEFT, RIGHT, "tumor"}, "KiTS", "2023", "CC BY-NC-SA 4.0"),
    "lits": (LITS, {"liver", "tumor"}, "LiTS", "2017", "CC BY-NC-ND 4.0"),
    "msd_colon": (MSD_COLON, {"tumor"}, "MSD-Colon", "2018", "CC BY-SA 4.0"),
    "msd_hepatic_vessel": (MSD_HEPATIC_VESSEL, {"tumor"}, "MSD-HepaticVessel", "2018", "CC BY-SA 4.0"),
    "msd_liver": (MSD_LIVER, {"liver", "tumor"}, "MSD-Liver", "2018", "CC BY-SA 4.0"),
    "msd_pancreas": (MSD_PANCREAS, {"pancreas", "tumor"}, "MSD-Pancreas", "2018", "CC BY-SA 4.0"),
    "msd_spleen": (MSD_SPLEEN, {"spleen"}, "MSD-Spleen", "2018", "CC BY-SA 4.0"),
    "pants": (PANTS, {"pancreas", "tumor"}, "PanTS", "2025", None),
    "totalsegmentator": (
        dict.fromkeys(range(1, 118), "no class") | TOTALSEGMENTATOR,
        None,
        "TotalSegmentator",
        "v2",
        "Apache-2.0 (program and weights of this task)",
    ),
    "word": (
        WORD,
        ORGANS - {"aorta", "inferior_vena_cava"},
        "WORD",
        "0.1.0",
        "GPL-3.0",
    ),
}
TUMOR_SOURCES = {
    "kits19", "kits21", "kits23", "lits", "msd_colon", "msd_hepatic_vessel", "msd_liver", "msd_pancreas",
    "pants",
}  # fmt: skip


def stored(word: str) -> int:
    """The stored voxel value of a publisher's word."""
    ours = OURS.get(word.lower().replace("_", " "))
    if ours is None:
        return BACKGROUND
    return UNRESOLVED_BY_NAME[ours].value if ours in UNRESOLVED_BY_NAME else BY_NAME[ours].id


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_source_that_comes_along_says_what_its_publisher_says(name):
    order, looked_for, source, revision, licence = PUBLISHED[name]
    mapping = load_builtin(name)
    numbered = order if isinstance(order, dict) else dict(enumerate(order, start=1))
    assert mapping.values == {value: stored(word) for value, word in numbered.items()}
    assert mapping.protocol == (None if looked_for is None else {BY_NAME[word].id for word in looked_for})
    assert (mapping.name, mapping.source, mapping.revision) == (name, source, revision)
    assert mapping.licence == licence
    assert mapping.title
    assert mapping.publisher
    assert mapping.citation
    assert mapping.order_from
    assert mapping.notes


def test_every_source_that_comes_along_is_in_the_table_above():
    assert builtin_names() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", sorted(name for name, facts in PUBLISHED.items() if facts[4] is None))
def test_a_source_without_a_licence_says_why_and_what_to_do(name):
    assert any(note.startswith("No licence is stated here: ") for note in load_builtin(name).notes)


@pytest.mark.parametrize("name", sorted(TUMOR_SOURCES))
def test_where_tumors_of_one_organ_were_looked_for_a_note_says_so(name):
    assert any(
        note.startswith("Only ") and "no tumor here says nothing of the other organs" in note
        for note in load_builtin(name).notes
    )


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("abdomenatlas", set()),
        # The file of the whole pancreas holds its parts, too.
        ("pants", {"pancreas_body", "pancreas_head", "pancreas_tail"}),
        ("totalsegmentator", set()),
    ],
)
def test_the_files_of_one_class_are_those_of_all_structures_that_have_a_class_here(name, left_out):
    order = PUBLISHED[name][0]
    numbered = order if isinstance(order, dict) else dict(enumerate(order, start=1))
    wanted = {
        value: f"{word}.nii.gz"
        for value, word in numbered.items()
        if stored(word) != BACKGROUND and word not in left_out
    }
    assert dict(load_builtin(name).parts) == wanted


def test_the_lesions_of_pants_lie_in_the_pancreas_and_have_their_voxels_and_else_the_lower_number_has_them():
    assert list(load_builtin("pants").parts)[:3] == [28, 1, 2]
    assert list(load_builtin("abdomenatlas").parts) == sorted(load_builtin("abdomenatlas").parts)


def test_a_note_is_one_paragraph():
    for name in builtin_names():
        for note in load_builtin(name).notes:
            assert "\n" not in note
            assert note.rstrip().endswith((".", ")")), f"{name}: {note}"


@pytest.mark.parametrize(
    ("name", "mask", "image"),
    [
        ("kits19", "{case}/segmentation.nii.gz", "{case}/imaging.nii.gz"),
        ("kits21", "{case}/aggregated_MAJ_seg.nii.gz", "{case}/imaging.nii.gz"),
        ("kits23", "{case}/segmentation.nii.gz", "{case}/imaging.nii.gz"),
        ("lits", "segmentation-{case}.nii", "volume-{case}.nii"),
        ("msd_liver", "labelsTr/{case}.nii.gz", "imagesTr/{case}.nii.gz"),
        ("msd_pancreas", "labelsTr/{case}.nii.gz", "imagesTr/{case}.nii.gz"),
        ("msd_hepatic_vessel", "labelsTr/{case}.nii.gz", "imagesTr/{case}.nii.gz"),
        ("msd_spleen", "labelsTr/{case}.nii.gz", "imagesTr/{case}.nii.gz"),
        ("msd_colon", "labelsTr/{case}.nii.gz", "imagesTr/{case}.nii.gz"),
        ("btcv", "label{case}.nii.gz", "img{case}.nii.gz"),
    ],
)
def test_files_lie_where_the_publisher_puts_them(name, mask, image):
    assert load_builtin(name).file_patterns == {"mask": mask, "image": image}


@pytest.mark.parametrize("name", ["abdomenatlas", "pants"])
def test_of_folders_with_one_file_per_class_only_the_image_needs_a_pattern(name):
    assert load_builtin(name).file_patterns == {"image": "{case}/ct.nii.gz"}
