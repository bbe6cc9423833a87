"""Save and load trained classifiers: only what differs from the published weights, or whole for export."""

import shutil
import tempfile
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.atomic import write_text
from lib.errors import UserError
from lib.models.backbone_spec import starting_weights
from lib.models.backbones import BACKBONES
from lib.models.bundle_files import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    MAX_BUNDLE_BYTES,
    NETWORK_FILE,
    bundle_file_paths,
    read_bundle_files,
    unpacked_bundle,
    write_bundle_files,
    zip_bundle,
)
from lib.models.classifier import Classifier
from lib.models.folding import fold_batchnorm
from lib.models.head_layers import NearestNeighborsHead
from lib.models.heads import build_head, described_head, resolve_features
from lib.models.networks import without_parameters
from lib.models.stages import empty_backbone, load_pretrained_backbone
from lib.models.weights import weights_digest, weights_status

_NETWORK = "network"
_MAX_DIM = 10_000_000


@dataclass(frozen=True)
class LoadedBundle:
    """A classifier in evaluation mode, and what was recorded with it."""

    classifier: Classifier
    manifest: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class NetworkDescription:
    """What is needed to rebuild the network before its tensors are filled in."""

    backbone: str
    weights: str
    seed: int
    feature_stage: str
    pooling: str
    head: str
    num_classes: int
    feature_dim: int
    head_options: dict[str, Any]
    base_digest: str
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for item in fields(self):
            kind: Any = typing.get_origin(item.type) or item.type
            if not isinstance(getattr(self, item.name), kind):
                raise UserError(
                    f"The bundle's {item.name} should be of type {kind.__name__}, is {getattr(self, item.name)!r:.80}."
                )
        for name in ("num_classes", "feature_dim"):
            if not 1 <= getattr(self, name) <= _MAX_DIM:
                raise UserError(f"The bundle's {name} should lie between 1 and {_MAX_DIM}, is {getattr(self, name)}.")
        object.__setattr__(self, "weights", starting_weights(self.weights))

    @classmethod
    def of(cls, classifier: Classifier, base_digest: str) -> "NetworkDescription":
        """Describe a classifier."""
        options = dict(classifier.head_options["options"])
        if isinstance(classifier.head, NearestNeighborsHead):
            options["num_samples"] = len(classifier.head.features)
        return cls(
            backbone=classifier.spec.name,
            weights=classifier.weights,
            seed=classifier.seed,
            feature_stage=classifier.feature_stage,
            pooling=classifier.pooling,
            head=classifier.head_options["name"],
            num_classes=classifier.num_classes,
            feature_dim=classifier.head_options["feature_dim"],
            head_options=options,
            base_digest=base_digest,
        )

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> "NetworkDescription":
        """Read it from a manifest; raises UserError if it is missing, of a newer format or not well-formed."""
        content = manifest.get(_NETWORK)
        if not isinstance(content, dict):
            raise UserError("The manifest describes no network, so this is no bundle of this program.")
        if content.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"This bundle has format {content.get('format_version')!r}, this program reads {FORMAT_VERSION}; "
                "update the program or export the bundle again."
            )
        try:
            return cls(**content)
        except TypeError as error:
            raise UserError(f"The manifest's description of the network is not well-formed: {error}.") from None


def save_bundle(
    folder: Path, classifier: Classifier, manifest: Mapping[str, Any], *, base_digest: str, changed_only: bool = True
) -> None:
    """Save a classifier as manifest.json and network.safetensors, each written atomically, the manifest last.

    `manifest` must fit JSON; `base_digest` is the `weights_digest` of what the backbone started from. `changed_only`
    leaves out tensors that equal the published weights (of a frozen backbone all). Random weights are always saved:
    another version of torch may draw others from the same seed.
    """
    state = {key: tensor.detach().cpu() for key, tensor in classifier.state_dict().items()}
    if classifier.is_head_alone:
        changed_only = False  # nothing of the published weights is in it
        if not _is_base_at_hand(classifier.spec.name, base_digest):
            raise UserError(f"The weights of {classifier.spec.title} were taken away during the training; train again.")
    if changed_only and classifier.weights == "pretrained" and _is_base_at_hand(classifier.spec.name, base_digest):
        base = load_pretrained_backbone(classifier.spec.name).state_dict()
        state = {key: tensor for key, tensor in state.items() if key not in base or not torch.equal(tensor, base[key])}
    description = asdict(NetworkDescription.of(classifier, base_digest))
    content = {**manifest, "format_version": FORMAT_VERSION, _NETWORK: description}
    write_bundle_files(folder, content, state)


def load_bundle(path: str | Path) -> LoadedBundle:
    """Load a classifier from a bundle's folder or zip, in evaluation mode, without gradients.

    For files beside it in a zip, open it with `unpacked_bundle` first and load from the folder that this gives.

    Raises:
        UserError: not a bundle, damaged, of a newer format, or saved from other base weights than those at hand.
        WeightsUnavailable: the base weights it needs are not at hand.
    """
    with unpacked_bundle(Path(path)) as folder:
        manifest, tensors = read_bundle_files(folder)
    description = NetworkDescription.from_manifest(manifest)
    classifier = _empty_classifier(description)
    expected = classifier.state_dict()
    _check_tensors(expected, tensors)
    if missing := expected.keys() - tensors.keys():
        tensors |= _base_state(description, missing)
    classifier.load_state_dict(tensors, strict=True, assign=True)
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LoadedBundle(classifier.eval().requires_grad_(requires_grad=False), manifest)


def export_bundle(
    source: str | Path,
    target: Path,
    *,
    beside: Mapping[str, str | Path] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write a bundle as one zip with all its weights and the files beside it; it needs nothing else to be loaded.

    `facts` are added to its manifest; `beside` are further files, name -> text or the file to copy.

    Raises:
        UserError: as `load_bundle`.
    """
    with unpacked_bundle(Path(source)) as folder, tempfile.TemporaryDirectory() as name:
        loaded = load_bundle(folder)
        size = sum(tensor.numel() * tensor.element_size() for tensor in loaded.classifier.state_dict().values())
        if size > MAX_BUNDLE_BYTES:
            raise UserError(
                f"With all its weights this classifier takes {size // 2**20} MiB, a bundle holds at most "
                f"{MAX_BUNDLE_BYTES // 2**20}. Copy the run's folder and the weights file instead."
            )
        digest = NetworkDescription.from_manifest(loaded.manifest).base_digest
        whole = Path(name)
        for file in bundle_file_paths(folder):
            if file.name not in {MANIFEST_FILE, NETWORK_FILE}:
                shutil.copyfile(file, whole / file.name)
        for name_beside, content in (beside or {}).items():
            if isinstance(content, Path):
                shutil.copyfile(content, whole / name_beside)
            else:
                write_text(whole / name_beside, content)
        manifest = {**loaded.manifest, **(facts or {})}
        save_bundle(whole, loaded.classifier, manifest, base_digest=digest, changed_only=False)
        zip_bundle(whole, target)
    return target


def take_learned_head(classifier: Classifier, bundle: Path) -> None:
    """Put the head of a saved classifier into this one, which must read the same features.

    Where the saved head has a BatchNorm that this one lacks, it is folded into a linear layer beside it.

    Raises:
        UserError: another backbone, stage, pooling, number of classes or kind of head.
    """
    source = load_bundle(bundle).classifier
    for what, mine, other in (
        ("backbone", classifier.spec.name, source.spec.name),
        ("feature_stage", classifier.feature_stage, source.feature_stage),
        ("pooling", classifier.pooling, source.pooling),
        ("number of classes", classifier.num_classes, source.num_classes),
        ("number of features", classifier.head_options["feature_dim"], source.head_options["feature_dim"]),
    ):
        if mine != other:
            raise UserError(f"The head of that run cannot be taken: its {what} is {other}, here it is {mine}.")
    learned = _without_batchnorm(source.head) if _has_norm(source.head) > _has_norm(classifier.head) else source.head
    own, found = classifier.head.state_dict(), learned.state_dict()
    if {k: t.shape for k, t in own.items()} != {k: t.shape for k, t in found.items()}:
        raise UserError(
            f"The head {source.head_options['name']} of that run does not fit into the head "
            f"{classifier.head_options['name']}; choose the same head, or mlp_plain for one with BatchNorm folded."
        )
    with torch.no_grad():
        for key, tensor in own.items():
            tensor.copy_(found[key])


def _empty_classifier(description: NetworkDescription) -> Classifier:
    spec = BACKBONES.get(description.backbone)
    resolve_features(spec, description.feature_stage, description.pooling, description.head)
    backbone = empty_backbone(spec, weights=description.weights, seed=description.seed)
    try:
        with without_parameters():
            head = build_head(
                description.head, description.feature_dim, description.num_classes, 0, **description.head_options
            )
    except (TypeError, RuntimeError, OverflowError) as error:
        raise UserError(f"The bundle's head {description.head!r} cannot be built: {error}.") from error
    options = described_head(
        description.head, description.num_classes, description.feature_dim, description.head_options
    )
    stage, pooling = description.feature_stage, description.pooling
    return Classifier(backbone, head, feature_stage=stage, pooling=pooling, head_options=options)


def _check_tensors(expected: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Raise UserError naming the first stored tensor that does not belong to the network."""
    for key, tensor in stored.items():
        if key not in expected:
            raise UserError(f"The bundle holds a tensor {key[:80]!r} that its network does not have; it is damaged.")
        if tensor.shape != expected[key].shape or tensor.dtype != expected[key].dtype:
            raise UserError(
                f"The bundle's tensor {key!r} is {tensor.dtype} {tuple(tensor.shape)}, its network needs "
                f"{expected[key].dtype} {tuple(expected[key].shape)}; it is damaged."
            )


def _base_state(description: NetworkDescription, missing: set[str]) -> dict[str, Tensor]:
    """The tensors that a bundle left out because they equal the published weights."""
    lost = sorted(key for key in missing if not key.startswith("stages."))
    if lost or description.weights != "pretrained":
        raise UserError(f"The bundle lacks the tensor {(lost or sorted(missing))[0]!r}; it is damaged.")
    if weights_digest(description.backbone, "pretrained") != description.base_digest:
        status = weights_status(description.backbone)
        raise UserError(
            f"This classifier was trained from another file {status.file} than the one in {status.folder}. Put that "
            "file back, or export the classifier on the machine where it was trained."
        )
    base = load_pretrained_backbone(description.backbone).state_dict()
    return {key: base[key] for key in missing}


def _is_base_at_hand(name: str, base_digest: str) -> bool:
    return weights_status(name).is_cached and weights_digest(name, "pretrained") == base_digest


def _has_norm(head: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm1d) for module in head.modules())


def _without_batchnorm(head: nn.Module) -> nn.Module:
    """The head folded; a sigmoid head keeps its last layer, which has no parameters."""
    if not isinstance(head, nn.Sequential):
        return head
    if isinstance(head[0], nn.Sequential):
        return nn.Sequential(fold_batchnorm(head[0]), *list(head)[1:])
    return fold_batchnorm(head)
