"""`make bench`: ratios measured in one run on this machine, on images that the program draws itself.

No figure here is a target that a test enforces; machines differ and are shared. Every comparison takes turns and prints
the median with the smallest and largest value.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.benchmarks import extraction

ROUNDS = 3
EPOCHS = 10
BATCH = 32


def main() -> None:
    """Run all benchmarks in an empty home that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRANSFERSCOPE_HOME"] = folder
        from lib.cli.doctor import describe_machine
        from lib.data.builtin import make_synthetic_fundus

        facts = describe_machine()
        print(
            f"{facts['processor']}, {facts['num_cores']} cores, torch {facts['torch']}, "
            f"frozen features in {facts['dtype']} ({facts['dtype_reason']}), {time.strftime('%Y-%m-%d')}"
        )
        make_synthetic_fundus(per_class=12, size_px=256)
        bench_frozen_training()
        bench_grad_cam()
        bench_warm_command()
        for name in extraction.BACKBONES:
            extraction.bench_extraction(name, Path(folder))
    from tests.benchmarks import board
    from tests.benchmarks.first_visit import bench_first_visit

    board.main()
    bench_first_visit()


def report(name: str, seconds: dict[str, list[float]]) -> None:
    """Print each contender's median seconds and the ratio of the first to each of the others, pair by pair."""
    first, *others = seconds
    for contender, values in seconds.items():
        print(f"  {contender:<44} {statistics.median(values):8.2f} s ({min(values):.2f} to {max(values):.2f})")
    for other in others:
        ratios = [a / b for a, b in zip(seconds[first], seconds[other], strict=True)]
        middle = statistics.median(ratios)
        print(f"{name}: {first} / {other} = {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})\n")


def take_turns(contenders: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Run all in turn, `ROUNDS` times; returns seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def bench_frozen_training() -> None:
    """A head on a frozen MobileNetV2: the plain loop that runs the backbone again each epoch, and ours."""
    from lib.data.library import open_dataset
    from lib.experiment import train
    from lib.settings import cache_dir
    from lib.training.config import TrainConfig

    dataset = open_dataset("synthetic-fundus")
    rows = dataset.split(0) == "train"

    def plain_loop() -> None:
        import torchvision

        network = torchvision.models.mobilenet_v2().eval()
        head = nn.Linear(1280, 5)
        optimizer = torch.optim.AdamW(head.parameters())
        images = torch.from_numpy(dataset.pixels[rows]).permute(0, 3, 1, 2).float() / 255
        images = nn.functional.interpolate(images, 224, mode="bilinear", antialias=True)
        targets = torch.from_numpy(dataset.table["target"].to_numpy()[rows].astype("int64"))
        for _ in range(EPOCHS):
            for start in range(0, len(images), BATCH):
                with torch.no_grad():
                    features = network.features(images[start : start + BATCH]).mean((2, 3))
                loss = nn.functional.cross_entropy(head(features), targets[start : start + BATCH])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def ours() -> None:
        config = TrainConfig(
            dataset="synthetic-fundus",
            backbone="mobilenet_v2",
            strategy="feature_extraction",
            weights="random",
            epochs=EPOCHS,
            patience=EPOCHS,
        )
        train(config)

    def ours_cold() -> None:
        for path in (cache_dir() / "features").glob("*"):
            path.unlink()
        ours()

    ours()  # the run store is made once
    report(
        f"{EPOCHS} epochs of a head on frozen MobileNetV2, {int(rows.sum())} images (ours: whole run, both flips)",
        take_turns({"plain torchvision loop": plain_loop, "ours, empty cache": ours_cold, "ours, warm cache": ours}),
    )


def bench_grad_cam() -> None:
    """One Grad-CAM map at the last stage, and the strip through all stages, against one forward pass of the network.

    Meant to stay below 1.1 and 3.5 forward passes: the map passes back through the tail alone, the strip once through
    all of the network.
    """
    from lib.explain.attribution_map import attribute, attribute_strip
    from lib.models.stages import build_backbone

    for name in ("efficientnet_lite0", "resnet18"):
        network = build_backbone(name, weights="random").eval()
        side = network.spec.input_size_px
        batch = torch.randn(1, 3, side, side).to(memory_format=torch.channels_last)

        def forward(network: nn.Module = network, batch: torch.Tensor = batch) -> None:
            with torch.inference_mode():
                for _ in range(10):
                    network(batch)

        def cam(network: Any = network, batch: torch.Tensor = batch) -> None:
            for _ in range(10):
                attribute(network, batch)

        def strip(network: Any = network, batch: torch.Tensor = batch) -> None:
            for _ in range(10):
                attribute_strip(network, batch)

        for warm in (forward, cam, strip):
            warm()
        report(f"Ten Grad-CAM maps of {name}", take_turns({"Grad-CAM": cam, "forward pass": forward}))
        report(f"Ten strips of {name}", take_turns({"strip": strip, "forward pass": forward}))


def bench_warm_command() -> None:
    """The whole `train` command on a warm cache, with the default network as published, against importing torch.

    Wall and processor seconds: on a machine that others share only the second tell much.
    """
    commands = {
        "train command": [sys.executable, "-m", "lib", "train", "--dataset", "synthetic-fundus"],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    subprocess.run(commands["train command"], check=True, capture_output=True)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            taken[name].append(_seconds_of(command))
    for which, kind in enumerate(("wall", "processor")):
        seconds = {name: [one[which] for one in values] for name, values in taken.items()}
        more = [whole - torch_s for whole, torch_s in zip(*seconds.values(), strict=True)]
        report(f"Linear probe, warm cache, {kind} seconds", seconds)
        print(f"  {statistics.median(more):.1f} s more than importing torch ({min(more):.1f} to {max(more):.1f})\n")


def _seconds_of(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a command with its children."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, os.times()
    return wall, sum(after[2:4]) - sum(before[2:4])


if __name__ == "__main__":
    main()
