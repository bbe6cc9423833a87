"""The weights file that comes with the program: written by the pre-training, read by everybody. Imports torch late."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.atomic import atomic_path
from lib.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT_VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class BundledMetadata:
    """What the file says of itself: the names of the generated classes in the order of the logits, and how it came."""

    classes: tuple[str, ...]
    pretraining: dict[str, Any]


def write_bundled_weights(network: "nn.Module", path: Path, metadata: BundledMetadata) -> None:
    """Write a network with the names of its classes, atomically.

    Kernels and matrices are kept in half precision, which halves the file. The vectors (BatchNorm, biases) stay in
    single precision: they are 1 % of the numbers, and variances reach beyond what half precision can hold.

    Raises:
        UserError: a number is too large for half precision or not finite.
    """
    from safetensors.torch import save_file

    tensors = {key: _packed(key, tensor) for key, tensor in network.state_dict().items()}
    described = {
        "format_version": FORMAT_VERSION,
        "classes": json.dumps(list(metadata.classes)),
        "pretraining": json.dumps(metadata.pretraining, sort_keys=True),
    }
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=described)


def read_bundled_weights(path: Path) -> dict[str, "Tensor"]:
    """The tensors of the file in single precision, under the keys of the network that was written.

    Raises:
        UserError: the file is missing, damaged or of another format.
    """
    from safetensors.torch import load_file

    read_bundled_metadata(path)
    try:
        tensors = load_file(path)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise _damaged(error) from error
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def read_bundled_metadata(path: Path) -> BundledMetadata:
    """What the file says of itself, read from its header alone; raises like `read_bundled_weights`."""
    from safetensors import safe_open

    if not path.is_file():
        raise UserError("It is missing.")
    try:
        with safe_open(path, framework="numpy") as opened:
            found = dict(opened.metadata() or {})
    except Exception as error:
        raise _damaged(error) from error
    if found.get("format_version") != FORMAT_VERSION:
        raise UserError(f"It has format {found.get('format_version')!r}, this program reads {FORMAT_VERSION!r}.")
    try:
        classes, pretraining = json.loads(found["classes"]), json.loads(found["pretraining"])
        return BundledMetadata(classes=tuple(str(name) for name in classes), pretraining=dict(pretraining))
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(error) from error


def _packed(key: str, tensor: "Tensor") -> "Tensor":
    tensor = tensor.detach().cpu().contiguous()
    packed = tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
    if packed.is_floating_point() and not packed.isfinite().all():
        raise UserError(f"The tensor {key!r} holds numbers that half precision cannot; the weights were not written.")
    return packed


def _damaged(error: Exception) -> UserError:
    return UserError(f"It is damaged or no safetensors file ({type(error).__name__}).")
