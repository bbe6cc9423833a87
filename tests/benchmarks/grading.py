"""`python -m tests.benchmarks.grading RUN [--files N]`: grading files against a plain loop over the same files.

The plain loop decodes in this process (Pillow, the same reduction, centre square), and sends batches of the same size
through the same network; nothing is judged, and every file is trusted. Both take turns over generated eyes as JPEG,
of 512 px and of one megapixel. Then seconds of one photograph of 12 megapixels with a warm grader, and of one map.
"""

import argparse
import cProfile
import io
import os
import pstats
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from lib.grading.grades import GradingOptions

ROUNDS = 3
SIDES_PX = (512, 1024)
CAMERA_PX = (4000, 3000)
NUM_CAMERA = 40
_NUM_DRAWN = 10


def main() -> None:
    """Measure the run that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true", help="also where this process spends its time")
    options = parser.parse_args()
    from lib.grading.grader import Grader
    from lib.runtime import set_threads

    print(f"{set_threads()} threads, load {os.getloadavg()[0]:.1f}")
    grader = Grader.open(options.run)
    print(f"{grader.header.backbone}, {grader.network.engine} in batches of {grader.batch_size}")
    eyes = drawn_eyes()
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES_PX:
            paths = write_eyes(eyes, Path(folder) / str(side), (side, side), options.files)
            bench_folder(grader, paths, f"{len(paths)} files of {side} px", options.rounds)
            if options.profile:
                profile(grader, paths)
        bench_camera(grader, write_eyes(eyes, Path(folder) / "camera", CAMERA_PX, 4))
    print(f"load {os.getloadavg()[0]:.1f}")


def drawn_eyes() -> list[Image.Image]:
    """Generated photographs of 512 px."""
    from lib.data.fundus.photograph import draw_example

    return [Image.fromarray(draw_example(seed % 5, seed=seed).pixels) for seed in range(_NUM_DRAWN)]


def write_eyes(eyes: list[Image.Image], folder: Path, size: tuple[int, int], number: int) -> list[Path]:
    """JPEG files of that size, each with noise of its own."""
    folder.mkdir()
    random, side, paths = np.random.default_rng(0), min(size), []
    for index in range(number):
        picture = Image.new("RGB", size)
        place = (size[0] - side) // 2, (size[1] - side) // 2
        picture.paste(eyes[index % len(eyes)].resize((side, side), Image.Resampling.BICUBIC), place)
        noise = random.integers(-2, 3, (size[1], size[0], 1), dtype=np.int16)
        noisy = np.clip(np.asarray(picture, dtype=np.int16) + noise, 0, 255).astype(np.uint8)
        paths.append(folder / f"{index}.jpg")
        Image.fromarray(noisy).save(paths[-1], quality=90)
    return paths


def bench_folder(grader: Any, paths: list[Path], title: str, rounds: int) -> None:
    """Rounds of both in turns; prints rates and the ratio, and processor time, which other work changes least."""
    rates: dict[str, list[float]] = {"plain loop": [], "grader": []}
    costs: dict[str, list[float]] = {"plain loop": [], "grader": []}
    for round_index in range(rounds + 1):
        for name, work in (("plain loop", plain_loop), ("grader", grade_all)):
            some = paths if round_index else paths[:32]  # the first round warms up
            began, spent = time.perf_counter(), processor_s()
            work(grader, some)
            if round_index:
                rates[name].append(len(some) / (time.perf_counter() - began))
                costs[name].append((processor_s() - spent) / len(some))
    ratios = [ours / plain for ours, plain in zip(rates["grader"], rates["plain loop"], strict=True)]
    print(f"{title}:")
    for name, values in rates.items():
        print(
            f"  {name:<12} {statistics.median(values):7.1f} images/s ({min(values):.1f} to {max(values):.1f}), "
            f"{1000 * statistics.median(costs[name]):.1f} ms of processors an image"
        )
    print(f"  {statistics.median(ratios):.2f} of the plain loop's rate ({min(ratios):.2f} to {max(ratios):.2f})")


def processor_s() -> float:
    """Seconds of all cores that this process and its decoders have used."""
    process = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children()))


def plain_loop(grader: Any, paths: list[Path]) -> None:
    """Probabilities of all files, by one thread that reads and a network that waits for it."""
    import torch

    side, found = grader.inputs.decoded_side_px, []
    with torch.inference_mode():
        for start in range(0, len(paths), grader.batch_size):
            squares = np.stack([_square(path, side) for path in paths[start : start + grader.batch_size]])
            batch = grader.inputs.batch(squares, device=grader.device)
            hidden = grader.network.forward_until(batch, grader.classifier.feature_stage)
            logits = grader.classifier.head(grader.classifier.pooled(hidden.float()))
            found.append(logits.softmax(1).cpu().numpy())
    assert sum(map(len, found)) == len(paths)


def grade_all(grader: Any, paths: list[Path]) -> None:
    """Grades of all files, as the command line asks for them."""
    assert sum(1 for _ in grader.grade([(path.name, path) for path in paths])) == len(paths)


def _square(path: Path, side: int) -> np.ndarray:
    with Image.open(path) as image:
        image.draft(None, (2 * side, 2 * side))
        least = min(image.size)
        left, top = (image.width - least) // 2, (image.height - least) // 2
        box = (left, top, left + least, top + least)
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box=box))


def bench_camera(grader: Any, paths: list[Path]) -> None:
    """Seconds of one photograph of a camera, sent as bytes, without and with its map."""
    contents = [path.read_bytes() for path in paths]
    for title, with_maps in (("class, probabilities and gates", False), ("the same and a map", True)):
        asked = grader.deciding(GradingOptions(with_maps=with_maps))
        taken = []
        for index in range(NUM_CAMERA + 3):
            began = time.perf_counter()
            list(asked.grade([("eye.jpg", contents[index % len(contents)])]))
            taken.append(time.perf_counter() - began)
        middle, high = np.quantile(taken[3:], [0.5, 0.95])
        print(f"one of 12 megapixels, {title}: {middle:.3f} s (95 %: {high:.3f} s)")


def profile(grader: Any, paths: list[Path]) -> None:
    """Where the thread that grades spends its time."""
    profiler, said = cProfile.Profile(), io.StringIO()
    profiler.runcall(grade_all, grader, paths)
    pstats.Stats(profiler, stream=said).sort_stats("cumulative").print_stats(35)
    print(said.getvalue())


if __name__ == "__main__":
    main()
