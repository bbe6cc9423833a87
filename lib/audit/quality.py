"""Images on which little can be seen: dark, bright, blurred, without contrast, of an odd shape; eyes that gates refuse.

Measures are those of `lib.data.image_measures`, which leave frames and the black outside a retina out. Fundus
photographs are judged by the gate of Grade images instead, where they are kept large enough for it.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lib.atomic import digest_of, read_kept, write_json
from lib.audit.audited import AuditedImages, audits_dir
from lib.audit.findings import NOTABLE, Finding
from lib.data.image_measures import image_measures
from lib.data.photograph_quality import WORKING_SIDE_PX
from lib.runtime import available_cores

# Of 255. On 500 photographs of cats and dogs the darkest has 34, the brightest 218, the least contrast is 28, the least
# sharpness 0.31; darkened to an eighth they have 7 to 20, blurred by a fortieth of their side 0.25 to 0.27.
DARK, BRIGHT, LOW_CONTRAST = 24.0, 236.0, 10.0
BLURRED = 0.285
ODD_SHARE = 0.4  # of the original's longer side that the square keeps
_QUALITY_FORMAT = 1
_AT_A_TIME = 64


def spoiled_images(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """Images that are dark, bright, blurred or without contrast, or fundus photographs that cannot be graded."""
    if has_gate(audited):
        return _ungradable(audited)
    measures = image_measures(audited.dataset, progress=audited.progress)
    brightness, contrast, sharpness = (measures[name].to_numpy() for name in ("brightness", "contrast", "sharpness"))
    is_dark, is_bright = brightness < DARK, brightness > BRIGHT
    is_flat = (contrast < LOW_CONTRAST) & ~is_dark & ~is_bright
    # What is dark or flat has no detail either; it is named once.
    is_blurred = (sharpness < BLURRED) & ~is_dark & ~is_bright & ~is_flat
    kinds = (
        ("dark", is_dark, DARK - brightness, "its mean grey level is {0:.0f} of 255", brightness),
        ("bright", is_bright, brightness - BRIGHT, "its mean grey level is {0:.0f} of 255", brightness),
        ("low_contrast", is_flat, LOW_CONTRAST - contrast, "its grey levels spread by {0:.1f} of 255", contrast),
        ("blurred", is_blurred, BLURRED - sharpness, "its sharpness is {0:.2f}, where 0.25 is none", sharpness),
    )
    found = [
        _one(audited, kind, int(row), float(worse[row]), words.format(values[row]))
        for kind, is_so, worse, words, values in kinds
        for row in np.flatnonzero(is_so & audited.is_in)
    ]
    return found, len(audited.rows), ""


def _one(audited: AuditedImages, kind: str, row: int, score: float, words: str) -> Finding:
    title = {"low_contrast": "nearly one colour"}.get(kind, kind)
    return Finding(
        kind=kind,
        severity=NOTABLE,
        image_ids=audited.ids([row]),
        score=score,
        exclude=audited.ids([row]),
        sentence=f"{audited.named(row)} ({audited.class_of(row)}) is {title}: {words}.",
        action="Exclude it if its class cannot be seen.",
    )


def has_gate(audited: AuditedImages) -> bool:
    """Whether the gate of fundus photographs can judge the images."""
    spec = audited.dataset.spec
    return spec.is_fundus and spec.crop_policy == "retina_box" and spec.store_side_px >= WORKING_SIDE_PX


def _ungradable(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """Fundus photographs that the gate would turn away, with its reason."""
    from lib.grading.quality import quality_model

    judged = _judged(audited)
    found = []
    for row, (score, reason) in judged.items():
        if audited.is_in[row]:
            found.append(
                Finding(
                    kind="ungradable",
                    severity=NOTABLE,
                    image_ids=audited.ids([row]),
                    score=score,
                    exclude=audited.ids([row]),
                    action="Exclude it, or take it again.",
                    sentence=f"{audited.named(row)} ({audited.class_of(row)}): {reason}",
                )
            )
    said = (
        "Judged inside the retina by the gate of Grade images, which is set so that it turns away "
        f"{100 * quality_model().false_alarm_rate:.0f} of 100 good photographs."
    )
    return found, len(audited.rows), said


def _judged(audited: AuditedImages) -> dict[int, tuple[float, str]]:
    """Row -> score and reason of those that the gate turns away; kept on disk for these pixels."""
    from lib.grading.quality import quality_model, read_quality

    dataset = audited.dataset
    model = quality_model()
    described = {"format": _QUALITY_FORMAT, "content": dataset.content_version, "limit": model.limit}
    path = audits_dir() / f"quality-{digest_of(described)}.json"
    kept = read_kept(path, lambda content: [(int(row), float(s), str(why)) for row, s, why in content["found"]])
    if kept is None:
        kept = []
        with ThreadPoolExecutor(available_cores()) as pool:  # NumPy and SciPy work without the interpreter's lock
            for start in range(0, dataset.num_images, _AT_A_TIME):
                audited.progress(start, dataset.num_images, "Judging photographs")
                pixels = np.asarray(dataset.pixels[start : start + _AT_A_TIME])
                for place, found in enumerate(pool.map(read_quality, pixels)):
                    if found.reading is not None and found.reading.kind:
                        kept.append((start + place, float(found.reading.score), found.reading.reason))
        write_json(path, {"found": kept})
    return {row: (score, reason) for row, score, reason in kept}


def odd_shapes(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """Originals of which the stored square keeps a small part; a retina's box keeps the retina, whatever the shape."""
    if audited.dataset.spec.crop_policy == "retina_box":
        return [], len(audited.rows), "Squares are cut round the retina, so the original's shape does not matter."
    width, height = (audited.table[side].to_numpy(dtype=np.float64) for side in ("width", "height"))
    kept = np.minimum(width, height) / np.maximum(width, height)
    found = [
        Finding(
            kind="odd_shape",
            severity=NOTABLE,
            image_ids=audited.ids([row]),
            score=1 - float(kept[row]),
            exclude=audited.ids([row]),
            action="Crop the original to what counts, or exclude it.",
            sentence=f"{audited.named(row)} ({audited.class_of(row)}) has {width[row]:.0f} x {height[row]:.0f} px: its "
            f"square keeps {100 * kept[row]:.0f} % of it.",
        )
        for row in np.flatnonzero((kept < ODD_SHARE) & audited.is_in).tolist()
    ]
    return found, len(audited.rows), ""
