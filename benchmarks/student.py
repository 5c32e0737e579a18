"""The student at the paper's size: its steps, its forward passes, a case end to end beside nnU-Net, a training step.

Run ``python -m benchmarks.student [steps|forward|end|training …]``; without names, all four. The case is the real CT
beside the project, resampled. The weights were trained for a few steps on crops of this very case, so that there is
a result to compare; how good it is says nothing of the method.
"""

import argparse
import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import monai
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from benchmarks import nnunet
from curation.components import keep_largest
from curation.geometry import Geometry
from curation.rle import RunLengths
from curation.volumes import decode_image, decode_mask, encode_image, encode_mask
from pipelines.profiles import StudentStage, load_profile
from pipelines.training.jobs import JobCase
from pipelines.training.losses import DiceCrossEntropy
from pipelines.training.networks.blocks import ConvNorm
from pipelines.training.precision import Precision
from pipelines.training.student import CLASSES, STAGES, StageName, build_network
from pipelines.training.student_data import Cache
from pipelines.training.student_loop import NetworkTraining
from pipelines.training.student_predict import Student
from pipelines.training.student_volumes import Box, Placement, foreground_box

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "totalsegmentator"
LARGE = (512, 512, 300)
MEDIUM, MEDIUM_MM = (256, 256, 128), 1.5
AIR_HU = -1024
REPEATS = 3


def real_case(folder: Path, shape: tuple[int, int, int], spacing_mm: float | None) -> tuple[Path, Path]:
    """Write the real CT and its mask at another size; returns both files.

    Without a spacing the whole CT is stretched to `shape`; with one, `shape` is cut out of its middle, air around.
    """
    files = []
    for name, order in (("example_ct", 1), ("example_ct_flare13", 0)):
        source = REAL / f"{name}.nii.gz"
        if order:
            geometry, voxels = decode_image(source.read_bytes(), source.name)
        else:
            geometry, runs = decode_mask(source.read_bytes(), source.name)
            voxels = runs.to_array()
        whole = np.array(shape) / geometry.shape
        zoom = whole if spacing_mm is None else np.array(geometry.spacing_mm) / spacing_mm
        finer = ndimage.zoom(voxels, zoom, order=order, mode="nearest", grid_mode=True)
        fitted = np.full(shape, AIR_HU if order else 0, np.int16 if order else np.uint8, order="F")
        into, out_of = zip(*map(_middle, shape, finer.shape), strict=True)
        fitted[into] = finer[out_of]
        if order:  # as a scanner's, so that gzip has the usual work
            fitted += np.random.default_rng(0).normal(0, 10, shape).astype(np.int16)
        grid = Geometry(shape, np.diag([*(np.array(geometry.spacing_mm) / zoom), 1.0]))
        file = folder / f"{name}_{'x'.join(map(str, shape))}.nii.gz"
        file.write_bytes(
            encode_image(fitted, grid) if order else encode_mask(RunLengths.from_array(fitted), grid)
        )
        files.append(file)
    return files[0], files[1]


def _middle(to: int, of: int) -> tuple[slice, slice]:
    length = min(to, of)
    return slice((to - length) // 2, (to + length) // 2), slice((of - length) // 2, (of + length) // 2)


def organ_box(mask: Path, geometry: Geometry, margin_mm: float) -> Box:
    """Around what is drawn, with a margin: what the fine network sees of a case."""
    box = foreground_box(decode_mask(mask.read_bytes(), mask.name)[1].to_array())
    assert box is not None
    return box.grown(margin_mm, geometry.spacing_mm, geometry.shape)


def trained(image: Path, mask: Path, steps: int) -> Student:
    """A student of the paper's size after a few steps on crops of one case."""
    profile = load_profile("paper").student
    assert profile is not None
    geometry, hu = decode_image(image.read_bytes(), image.name)
    labels = decode_mask(mask.read_bytes(), mask.name)[1].to_array()
    networks: dict[StageName, nn.Module] = {}
    stages = {"coarse": profile.coarse, "fine": profile.fine}
    for name in STAGES:
        stage = stages[name]
        whole = Box.whole(hu.shape)
        part = (organ_box(mask, geometry, profile.margin_mm) if name == "fine" else whole).slices
        placed = Placement.plan(hu[part].shape, stage.size, pad=stage.pad)
        at_input = placed.image(hu[part], stage.window_hu)[None]
        target = placed.labels(torch.from_numpy(np.ascontiguousarray(labels[part])))[None]
        if CLASSES[name] == 2:
            target = (target != 0).to(torch.uint8)
        networks[name] = _fit(build_network(name, stage), at_input, target, CLASSES[name], steps)
    precision = Precision.of_job("cpu")
    return Student(networks, stages, margin_mm=profile.margin_mm, keep_largest=True, precision=precision)


def _fit(
    network: nn.Module, image: torch.Tensor, labels: torch.Tensor, classes: int, steps: int, side: int = 64
) -> nn.Module:
    rng = np.random.default_rng(7)
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    loss_of = DiceCrossEntropy(classes)
    for _ in range(steps):
        start = rng.integers(0, np.array(image.shape[2:]) - side + 1)
        crop = (..., *(slice(a, a + side) for a in start))
        loss = loss_of(network(image[crop].contiguous(memory_format=torch.channels_last_3d)), labels[crop])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def measure_steps(image: Path, mask: Path, student: Student) -> None:
    """What a 512×512×300 case takes besides reading and the networks."""
    geometry, hu = decode_image(image.read_bytes(), image.name)
    ras = geometry.to_ras(hu)
    box = organ_box(mask, geometry, student.margin_mm)
    whole = Placement.plan(hu.shape, student.stages["coarse"].size, pad=False)
    placed = Placement.plan(box.shape, student.stages["fine"].size, pad=True)
    _, scores = student._run("fine", ras, box)
    took: dict[str, list[float]] = {}
    for _ in range(REPEATS + 1):
        labels = np.zeros(hu.shape, np.uint8, order="F")
        crop = labels[box.slices]
        _timed(took, "coarse input", lambda: whole.image(ras, (-325, 325)))
        _timed(took, "fine input", lambda: placed.image(ras[box.slices], (-325, 325)))
        _timed(took, "back and decide", lambda crop=crop: placed.decide(scores, crop))

        def components(crop: NDArray[np.uint8] = crop) -> None:
            crop[...] = keep_largest(RunLengths.from_array(crop)).to_array()

        _timed(took, "components", components)
        _timed(
            took, "encode",
            lambda labels=labels: encode_mask(RunLengths.from_array(geometry.from_ras(labels)), geometry),
        )  # fmt: skip
    print(f"\nSteps of {'×'.join(map(str, hu.shape))} voxels, crop {'×'.join(map(str, box.shape))}, seconds")
    medians = {name: statistics.median(times[1:]) for name, times in took.items()}
    for name, seconds in medians.items():
        print(f"{name:<24}{seconds:8.2f}   first time {took[name][0]:.2f}")
    print(f"{'sum':<24}{sum(medians.values()):8.2f}   target 3 on 2 cores")


def _timed(took: dict[str, list[float]], name: str, work: Callable[[], object]) -> None:
    begun = time.perf_counter()
    work()
    took.setdefault(name, []).append(time.perf_counter() - begun)


def plain(network: nn.Module) -> nn.Module:
    """The same network out of PyTorch's own modules, in its usual memory order."""
    made = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for module in list(made.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ConvNorm):
                setattr(module, name, nn.Sequential(child[0], nn.InstanceNorm3d(child[0].out_channels)))
    return made.eval()


def measure_forward(image: Path, mask: Path, student: Student) -> None:
    """Both networks as they predict, beside plain fp32 modules; in turns."""
    geometry, hu = decode_image(image.read_bytes(), image.name)
    box = organ_box(mask, geometry, student.margin_mm)
    dtype = str(student.precision.dtype).removeprefix("torch.")
    print(f"\nForward passes on {os.cpu_count()} cores; the student's floats here are {dtype}")
    if student.precision.dtype == torch.float32:
        print("(no bf16 units in this CPU: the target of 0.7 is for one that has them)")
    for name in STAGES:
        stage = student.stages[name]
        part = hu[box.slices] if name == "fine" else hu
        at_input = Placement.plan(part.shape, stage.size, pad=stage.pad).image(part, stage.window_hu)[None]
        usual = plain(student.networks[name])
        took: dict[str, list[float]] = {}
        found: dict[str, NDArray[np.uint8]] = {}

        def ours(name: StageName = name, at_input: torch.Tensor = at_input) -> torch.Tensor:
            with student.precision.autocast():
                return student.networks[name](at_input.contiguous(memory_format=torch.channels_last_3d))

        def theirs(usual: nn.Module = usual, at_input: torch.Tensor = at_input) -> torch.Tensor:
            return usual(at_input.contiguous())

        for _ in range(REPEATS):
            for way, work in (("ours", ours), ("plain", theirs)):
                begun = time.perf_counter()
                with torch.inference_mode():
                    logits = work()
                took.setdefault(way, []).append(time.perf_counter() - begun)
                found[way] = logits[0].argmax(0).numpy().astype(np.uint8)
        mine, usually = (statistics.median(took[way]) for way in ("ours", "plain"))
        a, b = found["ours"], found["plain"]
        drawn = [c for c in range(1, CLASSES[name]) if (b == c).any()]
        dice = [2 * np.sum((a == c) & (b == c)) / (np.sum(a == c) + np.sum(b == c)) for c in drawn]
        print(
            f"{name:<8}{mine:8.1f} s, plain {usually:6.1f} s, ratio {mine / usually:.2f}; "
            f"{len(drawn)} classes found, lowest Dice {min(dice, default=float('nan')):.4f}"
        )


def measure_end_to_end(folder: Path, student: Student) -> None:
    """A process that loads a student and predicts one file, beside nnU-Net's own and beside its windows alone."""
    model = folder / "student.pt"
    torch.save({name: network.state_dict() for name, network in student.networks.items()}, model)
    print("\nEnd to end, a process of its own, start of Python and imports included")
    for shape, spacing_mm, target in ((MEDIUM, MEDIUM_MM, 5), (LARGE, None, 30)):
        image, _ = real_case(folder, shape, spacing_mm)
        seconds, said = _child("benchmarks.student", "--predict", str(model), str(image))
        # The window is timed beside each case: on a busy machine both are slowed.
        window, windows = nnunet.window_seconds(), nnunet.windows(shape)
        print(
            f"{'×'.join(map(str, shape))}: student {seconds:.1f} s, {said}; nnU-Net {windows} windows of "
            f"{window:.1f} s = {windows * window:.0f} s, {windows * window / seconds:.1f} times (target {target})",
            flush=True,
        )
        if shape == MEDIUM:
            whole, _ = _child("benchmarks.nnunet", str(image))
            print(
                f"  nnU-Net's own predict, file to file: {whole:.1f} s, {whole / seconds:.1f} times",
                flush=True,
            )


def _child(module: str, *arguments: str) -> tuple[float, str]:
    """Seconds that a process of its own takes, and what it prints."""
    begun = time.perf_counter()
    child = subprocess.run(
        [sys.executable, "-m", module, *arguments], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - begun, child.stdout.strip()


def predict_one(model: Path, image: Path) -> None:
    """The child of `measure_end_to_end`: file to file, prints its peak of memory."""
    profile = load_profile("paper").student
    assert profile is not None
    stages: dict[StageName, StudentStage] = {"coarse": profile.coarse, "fine": profile.fine}
    saved = torch.load(model, weights_only=True)
    networks: dict[StageName, nn.Module] = {}
    for name in STAGES:
        networks[name] = build_network(name, stages[name])
        networks[name].load_state_dict(saved[name])
    student = Student(
        networks, stages, margin_mm=profile.margin_mm, keep_largest=True, precision=Precision.of_job("cpu")
    )
    geometry, hu = decode_image(image.read_bytes(), image.name)
    found = student.predict(geometry.to_ras(hu), geometry.spacing_ras_mm)
    runs = RunLengths.from_array(geometry.from_ras(found.labels))
    image.with_name("found.nii.gz").write_bytes(encode_mask(runs, geometry))
    print(f"peak {peak_mb():.0f} MB (target 4000), {len(runs.voxels())} classes found")


def peak_mb() -> float:
    """The most memory this process has held. Not getrusage's: after a fork that one begins with its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure_training(image: Path, mask: Path, folder: Path, side: int, steps: int) -> None:
    """How much of a training step's wall time is forward, backward and optimizer."""
    profile = load_profile("paper").student
    assert profile is not None
    monai.data.set_track_meta(False)  # as in train_student
    print(f"\nTraining, input {side}³, batch 2, the paper's channels and transforms, {steps} steps")
    for name in STAGES:
        full = profile.coarse if name == "coarse" else profile.fine
        stage = full.model_copy(update={"size": (side, side, side), "epochs": 1, "steps_per_epoch": steps})
        member = JobCase(case="B/1", image=image, mask=mask, split="train")
        prepared = Cache(folder / "cache").prepare(member, stage, 20.0 if name == "fine" else None)
        training = NetworkTraining(
            build_network(name, stage), stage, [prepared] * 2, [], folder=folder / name, seed=1,
            precision=Precision.of_job("cpu"), classes=CLASSES[name],
        )  # fmt: skip
        computing = 0.0
        begun = time.perf_counter()
        for batch in training._batches():
            at = time.perf_counter()
            training._learn(batch)
            training.standing.step += 1
            computing += time.perf_counter() - at
        whole = time.perf_counter() - begun
        print(f"{name:<8}{whole / steps:8.2f} s a step, {100 * computing / whole:5.1f} % compute (target 90)")


def main(arguments: list[str] | None = None) -> None:
    """Measure what is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="steps, forward, end, training (default: all)")
    parser.add_argument("--predict", nargs=2, type=Path, metavar=("MODEL", "IMAGE"), help=argparse.SUPPRESS)
    parser.add_argument("--train-steps", type=int, default=60, help="for weights that find something")
    parser.add_argument("--side", type=int, default=96, help="input of the training step (default 96)")
    given = parser.parse_args(arguments)
    if given.predict:
        predict_one(*given.predict)
        return
    parts = given.parts or ["steps", "forward", "end", "training"]
    if not REAL.is_dir():
        print("The real CT is not beside the project (../shared/data/totalsegmentator): left out.")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image, mask = real_case(folder, LARGE, None)
        if "training" in parts:
            measure_training(image, mask, folder, given.side, steps=4)
        if parts == ["training"]:
            return
        student = trained(image, mask, given.train_steps)
        if "steps" in parts:
            measure_steps(image, mask, student)
        if "forward" in parts:
            measure_forward(image, mask, student)
        if "end" in parts:
            measure_end_to_end(folder, student)


if __name__ == "__main__":
    main()
