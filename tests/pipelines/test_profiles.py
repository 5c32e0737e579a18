"""Profiles: the paper's figures, and files that say something else than settings."""

import pytest

from curation.errors import UsageError
from pipelines.profiles import builtin_names, load_profile, parse_profile


def test_the_paper_profile_has_the_figures_of_table_3():
    teacher = load_profile("paper").teacher
    assert (teacher.epochs, teacher.steps_per_epoch, teacher.batch_size) == (1000, 250, 2)
    assert (teacher.optimizer, teacher.learning_rate, teacher.weight_decay) == ("sgd", 0.01, 3e-5)
    assert teacher.patch_size == (48, 192, 192)
    # Channels, depth and augmentation are nnU-Net's own.
    assert teacher.base_features is None
    assert teacher.augmentation == "nnunet"
    assert teacher.deep_supervision


def test_a_profile_survives_its_way_through_a_job_file():
    profile = load_profile("quick")
    assert type(profile).model_validate_json(profile.model_dump_json()) == profile


def test_a_profile_file_is_named_after_its_file(tmp_path):
    (tmp_path / "mine.toml").write_text("[teacher]\nepochs = 7\n")
    profile = load_profile(str(tmp_path / "mine.toml"))
    assert (profile.name, profile.teacher.epochs) == ("mine", 7)


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown profile .papre.; built-in profiles are .*paper, quick"):
        load_profile("papre")
    assert {"paper", "quick"} <= set(builtin_names())


STAGE = "size = [32, 32, 32]\nepochs = 1\n"


def student_text(coarse: str = "", fine: str = "", head: str = "") -> str:
    channels = "channels = [8, 16, 32, 64, 128]\n"
    stages = f"[student.coarse]\n{STAGE}{channels}{coarse}\n[student.fine]\n{STAGE}{fine or channels}\n"
    return f"[student]\n{head}\n{stages}"


def test_the_students_networks_and_what_is_missing_are_the_papers_unless_said():
    papers = load_profile("paper").student
    assert (papers.coarse.network, papers.fine.network, papers.missing) == ("paper", "paper", "background")
    fine = 'network = "segresnet"\nchannels = [8, 16, 32, 64, 128]'
    text = student_text('network = "unet"', fine, 'missing = "marginal"')
    student = parse_profile(text, "mine.toml", name="mine").student
    assert (student.coarse.network, student.fine.network, student.missing) == (
        "unet",
        "segresnet",
        "marginal",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            student_text('network = "vnet"'),
            "student.coarse.network = 'vnet': Input should be 'paper', 'unet' or 'segresnet'",
        ),
        (
            student_text(head='missing = "margin"'),
            "student.missing = 'margin': Input should be 'background', 'marginal' or 'ignore'",
        ),
        (
            student_text(fine='network = "segresnet"\nchannels = [16, 32, 64, 64, 64]'),
            "student.fine.channels = [16, 32, 64, 64, 64]: Value error, a SegResNet doubles its channels at every "
            "level: [16, 32, 64, 128, 256]; correct or remove it",
        ),
    ],
)
def test_a_wrong_student_names_file_key_and_what_there_is(text, found):
    with pytest.raises(UsageError) as error:
        parse_profile(text, "mine.toml", name="mine")
    assert str(error.value).startswith(f"mine.toml: {found}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[teacher]\nepoch = 5\n", "teacher.epoch = 5: Extra inputs are not permitted"),
        ("[teacher]\nepochs = 0\n", "teacher.epochs = 0: Input should be greater than 0"),
        ('[teacher]\noptimizer = "adam"\n', "teacher.optimizer = 'adam'"),
        ("[teacher\n", "not TOML"),
    ],
)
def test_a_wrong_profile_names_file_and_key(text, found):
    with pytest.raises(UsageError) as error:
        parse_profile(text, "mine.toml", name="mine")
    assert str(error.value).startswith(f"mine.toml: {found}")
