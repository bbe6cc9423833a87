"""`python -m tests.checks.gap_without_batchnorm FOLDER [FOLDER ...] [--backbones ...]`: the two ways of the domain gap.

Where a network keeps no running statistics its gap is measured against photographs that are at hand. Here pretrained
networks with BatchNorm say how far that can be believed: their gap is measured by their running statistics, then their
BatchNorm is folded into the convolutions and it is measured once more, by photographs. Printed per set of images and
stage: how far along the way from the source (0) to noise (1) each way puts them. Sets are up to 64 files below each
FOLDER, the generated eyes that come with the program, and the photographs themselves. The weights must be at hand.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

_MOST = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbones", nargs="+", default=["efficientnet_lite0", "mobilenet_v2"])
    options = parser.parse_args()
    sets = {folder.name: read_pictures(folder) for folder in options.folders}
    for backbone in options.backbones:
        compare(backbone, sets)


def read_pictures(folder: Path) -> np.ndarray:
    """Some of the images below a folder, evenly over it, uint8 (n, S, S, 3)."""
    from lib.advisor.gap_measurement import SIDE_PX
    from lib.data.images import decode_bytes

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = paths[:: max(1, len(paths) // _MOST)][:_MOST]
    return np.stack(
        [decode_bytes(path.read_bytes(), side_px=SIDE_PX, crop_policy="center_square").pixels for path in chosen]
    )


def compare(backbone: str, sets: dict[str, np.ndarray]) -> None:
    """Print both ways' places of each set, stage by stage, and how they agree."""
    import torch
    from scipy.stats import spearmanr

    from lib.advisor import gap_measurement
    from lib.advisor.gap_measurement import (
        _against,
        _distances,
        _has_statistics,
        _is_too_coarse,
        _output_moments,
        measure_anchors,
    )
    from lib.advisor.measurement import read_stages
    from lib.data.input_transform import to_batch
    from lib.models.folding import fold_stages
    from lib.models.stages import build_backbone
    from lib.progress import ignore_progress

    network = build_backbone(backbone, feature_only=True)
    spec = network.spec
    running = measure_anchors(network)
    by_running: dict[str, dict[str, Any]] = {"generated eyes": running.eyes, "photographs": running.photographs}
    for name, pixels in sets.items():
        by_running[name] = _distances(read_stages(network, pixels)[1])
    photographs = np.concatenate(gap_measurement.photograph_crops())
    batch = to_batch(photographs[:16], size_px=spec.input_size_px, mean=spec.mean, std=spec.std, resizing=spec.resizing)
    with torch.no_grad():
        network.stages = fold_stages(network.stages, batch)
    assert not _has_statistics(network), "BatchNorm is left"
    folded = measure_anchors(network)
    by_photographs: dict[str, dict[str, Any]] = {"generated eyes": folded.eyes, "photographs": folded.photographs}
    for name, pixels in sets.items():
        by_photographs[name] = _distances(
            _against(folded.source, _output_moments(network, pixels, ignore_progress, name))
        )
    print(f"{spec.title}: places of its stages by running statistics | by {folded.num_photographs} photographs")
    coarse = [stage for stage in folded.noise if _is_too_coarse(stage, folded)]
    print(f"  not measured by photographs, which differ there as much as noise: {', '.join(coarse) or 'no stage'}")
    pairs, medians = [], {}
    for name, own in by_running.items():
        both = [one for one in own if own[one] is not None and by_photographs[name].get(one) is not None]
        stages = [one for one in both if one not in coarse]
        first = [own[one] / running.noise[one] for one in stages]
        second = [by_photographs[name][one] / folded.noise[one] for one in stages]
        pairs += zip(first, second, strict=True)
        medians[name] = float(np.median(first)), float(np.median(second))
        print(f"  {name:<16} {' '.join(f'{a:.2f}|{b:.2f}' for a, b in zip(first, second, strict=True))}")
        print(f"  {'':<16} median {medians[name][0]:.2f} | {medians[name][1]:.2f}")
    first, second = np.array(pairs).T
    same = np.mean([(a < 0.5) == (b < 0.5) for a, b in pairs])
    print(
        f"  {len(pairs)} pairs: rank correlation {spearmanr(first, second).statistic:.2f}, mean difference "
        f"{np.abs(first - second).mean():.2f}, on the same side of half way {100 * same:.0f} %"
    )
    order = [sorted(medians, key=lambda name, way=way: medians[name][way]) for way in (0, 1)]
    print(f"  nearest first: {', '.join(order[0])} | {', '.join(order[1])}", flush=True)


if __name__ == "__main__":
    main()
