"""What a question about stages needs of a run: its network, and the data set as its training took it."""

import hashlib
import json
from types import SimpleNamespace
from typing import Any

from lib.data.subset import apply_protocol
from lib.data.target_map import map_targets
from lib.errors import UserError
from lib.explain.stage_probes import RunNetwork
from lib.features.stage_outputs import StagedSource
from lib.grading.grader import Grader
from lib.training.preparation import trained_config, trained_version
from lib.training.strategies import STRATEGIES


def run_network(grader: Grader, *, label: str = "") -> RunNetwork:
    """The stages of a classifier's backbone, read as grading reads images; called by its strategy and id, or `label`.

    Raises:
        UserError: the classifier has no network.
    """
    classifier = grader.classifier
    if not classifier.spec.num_parameters:
        raise UserError(
            "This run uses no network: its features are hand-made measures, which have no stages. Choose a run with a "
            "network."
        )
    known = {key: grader.manifest.get(key) for key in ("network", "network_sha256")}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    source = StagedSource(
        classifier.spec, f"run {digest}", grader.inputs, lambda: classifier.stages, classifier.feature_stage
    )
    strategy = str(grader.manifest.get("strategy") or "")
    named = (STRATEGIES.get(strategy).title if strategy in STRATEGIES else "", grader.run[:8])
    title = label or ", ".join(filter(None, named))
    return RunNetwork(grader.run, title, source, grader.seen, trained_version(grader.manifest) or "")


def as_taken_part(
    dataset: Any, grader: Grader | None, *, split_seed: int | None = None, target_map: str | None = None
) -> tuple[Any, int, str]:
    """A data set as a question about stages takes it, its split seed, and how its classes are merged ("" if not).

    On the data set that a run was trained on, its own version, images, split and merged classes count unless others are
    asked for.

    Raises:
        UserError: the map is not for these classes.
    """
    if grader is not None and (version := trained_version(grader.manifest)):
        versions = getattr(dataset, "versions", [dataset.version])
        if version in versions:
            config = trained_config(grader.manifest)
            merged = target_map or getattr(config, "target_map", None)
            asked = SimpleNamespace(**{**vars(config), "target_map": merged, "num_folds": None})
            seed = int(config.split_seed) if split_seed is None else split_seed
            return apply_protocol(dataset.at_version(version), asked), seed, merged or ""
    return map_targets(dataset, target_map), split_seed or 0, target_map or ""
