"""`python -m tests.benchmarks.importing`: a large import against decoding alone, its memory, and what follows it.

Draws 20,000 photographs of 1 megapixel and 200 of 10 (4 GB, kept in --folder for the next time) and stores them in a
home that is removed afterwards (9 GB). Decoding alone is `multiprocessing` with as many processes, each of which reads,
drafts, crops and resizes as the import does and throws the pixels away; once with the memory settings of the decoders
(lib/data/decoder_pool.py), which is what the import is judged by, and once as it comes. All take turns on the same
files, and each has a process of its own, whose modules are imported before the clock starts. Memory is what no other
process shares (RssAnon and RssShmem, without the page cache), summed over the import and its decoders every 0.2 s. All
files lie in the page cache as far as that has room.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from lib.settings import DEFAULT_STORE_SIDE_PX, PROJECT_ROOT
from tests.benchmarks.many_photographs import LARGE, SMALL, make_photographs, paths_of

_SIZES = (1000, 5000, 20000)
_RERUNS = 80
_DECODE = """
import json, os, sys, time
from multiprocessing import get_context
from PIL import Image
side, paths = int(sys.argv[1]), sys.stdin.read().split("\\n")

def decode(path):
    with open(path, "rb") as opened:
        image = Image.open(opened)
        image.draft(None, (2 * side, 2 * side))
        image.load()
    image = image.convert("RGB")
    least = min(image.size)
    left, top = (image.width - least) // 2, (image.height - least) // 2
    square = image.crop((left, top, left + least, top + least))
    return len(square.resize((side, side), Image.Resampling.BICUBIC).tobytes())

before, began = os.times(), time.perf_counter()
with get_context("fork").Pool(int(sys.argv[2])) as pool:
    for _ in pool.imap_unordered(decode, paths, chunksize=8):
        pass
    pool.close()
    pool.join()
wall, after = time.perf_counter() - began, os.times()
print(json.dumps({"wall": wall, "cpu": sum(after[:4]) - sum(before[:4])}))
"""
_IMPORT = """
import json, os, sys, time
import pandas, sklearn.model_selection
from lib.data.importing import import_folder
from lib.data import grouped_folds

def progress(done, total, what):
    if what == "decoding images":
        sys.stdout.write(f"{done}\\n")
        if done % 50 == 0:
            sys.stdout.flush()

before, began = os.times(), time.perf_counter()
dataset = import_folder(sys.argv[1], name=sys.argv[2], store_side_px=int(sys.argv[3]), progress=progress)
wall, after = time.perf_counter() - began, os.times()
found = {"wall": wall, "cpu": sum(after[:4]) - sum(before[:4]), "version": dataset.version}
print(json.dumps(found))
"""
_OPEN = """
import json, sys, time
import pandas
from lib.data.library import open_dataset
from lib.data.statistics import class_counts
began, seconds = time.perf_counter(), {}
dataset = open_dataset(sys.argv[1])
seconds["description"] = time.perf_counter() - began
dataset.table
seconds["table"] = time.perf_counter() - began
class_counts(dataset, dataset.split(0))
seconds["split"] = time.perf_counter() - began
dataset.thumbnail(len(dataset.table) // 2)
seconds["first picture"] = time.perf_counter() - began
print(json.dumps(seconds))
"""


def main() -> None:
    """Make the photographs, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "import_benchmark")
    parser.add_argument("--images", type=int, default=_SIZES[-1], help="of the largest import")
    parser.add_argument(
        "--side", type=int, default=DEFAULT_STORE_SIDE_PX, help="of the largest import's squares, in px"
    )
    parser.add_argument("--pairs", type=int, default=3, help="how often import and decoding alone take turns")
    parser.add_argument("--pair-images", type=int, default=2000)
    options = parser.parse_args()
    small = make_photographs(options.folder / "small", options.images, SMALL)
    large = make_photographs(options.folder / "large", 200, LARGE)
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        os.environ["TRANSFERSCOPE_HOME"] = str(Path(work) / "home")
        _say_machine()
        bench_ratio("200 images of 10 megapixels", [paths_of(large, 200)] * options.pairs, Path(work))
        paths = paths_of(small, options.images)
        starts = range(0, min(options.pairs * options.pair_images, len(paths)), options.pair_images)
        chunks = [paths[start : start + options.pair_images] for start in starts]
        bench_ratio(f"{len(chunks[0]):,} images of 1 megapixel", chunks, Path(work))
        bench_kill(paths[: options.pair_images], Path(work))
        sizes = [size for size in _SIZES if size < len(paths)] + [len(paths)]
        bench_memory(paths, sizes, Path(work), side=options.side)
        bench_opening("whole")
        bench_page("whole")
        _say_machine()


def _say_machine() -> None:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{os.cpu_count()} cores, load of the last 1, 5 and 15 minutes {load}, {time.strftime('%Y-%m-%d %H:%M')}")


def _linked(paths: list[Path], folder: Path) -> Path:
    """A folder of these files, by hard links."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in paths:
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    return folder


def bench_ratio(what: str, chunks: list[list[Path]], work: Path) -> None:
    """Import each chunk and decode it alone, in turns; prints the ratios of wall and processor seconds."""
    from lib.data.decoder_pool import KEEP_MEMORY, num_decoders

    taken: dict[str, list[dict[str, float]]] = {"import": [], "decoding alone": [], "as it comes": []}
    for turn, chunk in enumerate(chunks):
        folder = _linked(chunk, work / "chunk")
        contenders: dict[str, Callable[[], dict[str, Any]]] = {
            "import": lambda folder=folder: _import(folder, "chunk")[0],
            "decoding alone": lambda chunk=chunk: _decode(chunk, num_decoders(len(chunk)), KEEP_MEMORY),
            "as it comes": lambda chunk=chunk: _decode(chunk, num_decoders(len(chunk)), {}),
        }
        for name in sorted(contenders, reverse=bool(turn % 2)):
            taken[name].append(contenders[name]())
        _forget("chunk")
    print(f"{what}, {len(chunks)} times in turns:")
    for kind, words in (("wall", "wall"), ("cpu", "processor")):
        for name, values in taken.items():
            per_image = [1000 * one[kind] / len(chunks[0]) for one in values]
            print(f"  {name:<16} {statistics.median(per_image):7.2f} ms an image, {words}")
        for name in list(taken)[1:]:
            ratios = [a[kind] / b[kind] for a, b in zip(taken["import"], taken[name], strict=True)]
            whole = sum(one[kind] for one in taken["import"]) / sum(one[kind] for one in taken[name])
            each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
            print(f"  ratio of {words} seconds to {name}: {whole:.3f} (each {each})")
    sys.stdout.flush()


def bench_kill(paths: list[Path], work: Path) -> None:
    """Kill an import and make it again; prints what the second one took and whether both versions are the same."""
    folder = _linked(paths, work / "chunk")
    whole, _ = _import(folder, "chunk")
    _forget("chunk")
    _, curve = _import(folder, "chunk", kill_at=len(paths) * 3 // 4)
    again, curve_again = _import(folder, "chunk")
    _forget("chunk")
    print(
        f"{len(paths):,} images, killed at {curve[-1][0]:,}, made again: goes on from {curve_again[0][0]:,}, "
        f"{again['cpu'] / whole['cpu']:.2f} of the processor seconds of a whole import, "
        f"{'the same version' if again['version'] == whole['version'] else 'ANOTHER VERSION'}",
        flush=True,
    )


def bench_memory(paths: list[Path], sizes: list[int], work: Path, *, side: int) -> None:
    """Imports of growing size; the last one stays in the library as "whole"."""
    print(f"Memory of the import and its decoders, squares of {side} px: the largest sum at any moment")
    for size in sizes:
        name = "whole" if size == sizes[-1] else "chunk"
        found, curve = _import(_linked(paths[:size], work / name), name, side=side)
        peak = max(mib for _, mib in curve)
        print(
            f"  {size:>6,} images {peak:6.0f} MiB   {found['wall']:7.1f} s, {found['cpu']:7.1f} processor s", flush=True
        )
        if name == "whole":
            steps = [size * part // 10 for part in range(1, 11)]
            within = [max([mib for done, mib in curve if done <= step], default=0.0) for step in steps]
            print("  of the last one after each tenth: " + ", ".join(f"{mib:.0f}" for mib in within), flush=True)
        else:
            _forget(name)


def bench_opening(name: str) -> None:
    """A data set that was opened before, in five fresh processes."""
    found = [json.loads(_run(_OPEN, name).stdout.splitlines()[-1]) for _ in range(5)]
    words = ", ".join(f"{step} {1000 * statistics.median(one[step] for one in found):.0f} ms" for step in found[0])
    most = 1000 * max(one["first picture"] for one in found)
    print(f"Opening again, until there is: {words} (slowest {most:.0f} ms)", flush=True)


def bench_page(name: str) -> None:
    """Reruns of "Explore data" with other classes, parts and large images, from the script's start to its end."""
    from streamlit.testing.v1 import AppTest

    from lib.demo import recording
    from pages.common import clicks, state

    recording.FOLDER = Path(os.environ["TRANSFERSCOPE_HOME"]) / "no_demo"  # the page would unpack it
    marks: dict[str, tuple[float, float]] = {}

    def follow(module: Any, function: str, mark: str) -> None:
        own = getattr(module, function)

        def call(*arguments: Any, **given: Any) -> Any:
            began = time.perf_counter(), time.thread_time()
            found = own(*arguments, **given)
            marks[mark] = began if mark == "start" else (time.perf_counter(), time.thread_time())
            return found

        setattr(module, function, call)

    follow(state, "sync_from_url", "start")
    follow(clicks, "end_of_run", "end")
    at = AppTest.from_file(str(PROJECT_ROOT / "app.py"), default_timeout=300).run()
    at.query_params["dataset"] = name
    at.switch_page("pages/explore_data.py").run()
    times = []
    for turn in range(_RERUNS):
        changes = {
            "explore_split": ["All", "Training", "Test"][turn % 3], "explore_large": turn,
            "view_class": ["", "shore", "meadow"][turn // 4 % 3],
        }  # fmt: skip
        key = list(changes)[turn % 3]
        at.session_state[key] = changes[key]
        at.run()
        times.append([1000 * (end - start) for start, end in zip(marks["start"], marks["end"], strict=True)])
    assert not at.exception, at.exception
    assert not at.error, at.error
    for kind, values in zip(("wall", "processor"), zip(*times, strict=True), strict=True):
        ordered = sorted(values)
        p95 = ordered[round(0.95 * len(ordered)) - 1]
        print(f"Rerun of Explore data, {kind}: median {statistics.median(values):.0f} ms, p95 {p95:.0f} ms", flush=True)


def _decode(paths: list[Path], num_processes: int, environment: dict[str, str]) -> dict[str, Any]:
    given, side = "\n".join(map(str, paths)), str(DEFAULT_STORE_SIDE_PX)
    done = _run(_DECODE, side, str(num_processes), given=given, environment=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _import(
    folder: Path, name: str, *, kill_at: int = 0, side: int = DEFAULT_STORE_SIDE_PX
) -> tuple[dict[str, Any], list[tuple[int, float]]]:
    """What the import prints at its end, and its memory: images done and MiB, every 0.2 s."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", _IMPORT, str(folder), name, str(side)], cwd=PROJECT_ROOT, stdout=said, text=True
        )
        curve: list[tuple[int, float]] = []
        while process.poll() is None:
            curve.append((_last_number(said), _private_mib(process.pid)))
            if kill_at and curve[-1][0] >= kill_at:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.2)
        process.wait()
        said.seek(0)
        lines = said.read().splitlines()
    numbers = [int(line) for line in lines if line.isdigit()]
    if kill_at:
        return {}, [(numbers[-1], 0.0)]
    return json.loads(lines[-1]), [(numbers[0], 0.0), *curve]


def _last_number(said: Any) -> int:
    end = os.fstat(said.fileno()).st_size
    tail = os.pread(said.fileno(), 64, max(0, end - 64)).split(b"\n")
    numbers = [int(line) for line in tail[1:-1] if line.isdigit()]
    return numbers[-1] if numbers else 0


def _private_mib(pid: int) -> float:
    """Memory of a process and its descendants that is theirs alone."""
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(_own_kib(one.pid) for one in processes) / 1024


def _own_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def _run(
    code: str, *arguments: str, given: str | None = None, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=PROJECT_ROOT, input=given, capture_output=True, text=True,
        check=True, env=os.environ | (environment or {}),
    )  # fmt: skip


def _forget(name: str) -> None:
    """Remove a data set and what an ended import stored."""
    datasets = Path(os.environ["TRANSFERSCOPE_HOME"]) / "datasets"
    for path in [datasets / name, *datasets.glob(".import-*")]:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main()
