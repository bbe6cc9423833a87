"""Frozen stages as an ONNX file, and the session of ONNX Runtime that computes it on the CPU."""

import hashlib
import importlib.metadata
import importlib.util
import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from lib.atomic import atomic_path
from lib.disk_cache import entry_path, make_room

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from torch import Tensor, nn

_FORMAT = 1
_OPSET = 17  # has every operation of the backbones, and every ONNX Runtime of the last years reads it
_INPUT = "images"
_EXPORTING = threading.Lock()  # the exporter keeps its state in global variables


class EngineUnavailable(Exception):
    """ONNX Runtime cannot run these stages; the message says why, as a phrase."""


def why_missing() -> str:
    """Why ONNX Runtime cannot be used at all, as a phrase; "" if it is installed. Imports nothing."""
    lacking = [name for name in ("onnxruntime", "onnx") if importlib.util.find_spec(name) is None]
    return f"the package {lacking[0]} is not installed" if lacking else ""


def runtime_version() -> str:
    """The version of ONNX Runtime; "" if it is not installed."""
    try:
        return importlib.metadata.version("onnxruntime")
    except importlib.metadata.PackageNotFoundError:
        return ""


class OnnxSession:
    """Frozen stages, computed by ONNX Runtime in float32 on the CPU."""

    def __init__(self, stages: "nn.Module", input_shape: tuple[int, ...], *, num_outputs: int = 1) -> None:
        """Export the stages, unless the cache holds the very same ones, and load them.

        Args:
            stages: one module, which stays as it is.
            input_shape: of one image, (3, H, W), or of what enters the stages for it; the number of images is open.
            num_outputs: how many tensors (N, ...) the module returns; more than one as a tuple.

        Raises:
            EngineUnavailable: the package is missing, or it or the exporter cannot do these stages.
        """
        if why := why_missing():
            raise EngineUnavailable(why)
        self._session = load_session(_exported(stages, input_shape, num_outputs))

    def __call__(self, batch: "Tensor") -> "Tensor":
        """Images (N, ...), float32, to the only output, on the same device; errors as of `all_outputs`."""
        import torch

        return torch.from_numpy(self.all_outputs(batch)[0]).to(batch.device)

    def all_outputs(self, batch: "Tensor") -> "list[np.ndarray]":
        """The same to all that the module returns.

        Raises:
            MemoryError: memory ran out.
        """
        try:
            outputs: list[np.ndarray] = self._session.run(None, {_INPUT: batch.cpu().contiguous().numpy()})
        except Exception as error:
            # Its own exceptions are no MemoryError, which work in smaller parts (lib/out_of_memory.py) waits for.
            if "allocat" in str(error).lower():
                raise MemoryError(str(error).splitlines()[0]) from None
            raise
        return outputs


def _exported(stages: "nn.Module", input_shape: tuple[int, ...], num_outputs: int) -> bytes:
    """The ONNX file's bytes, from the cache where they are there.

    They are named by a hash of all that they depend on: build and weights of the stages, the input, the exporter.
    """
    import torch

    digest = hashlib.sha256(f"{_FORMAT}|{_OPSET}|{torch.__version__}|{input_shape}|{stages!r}".encode())
    for name, tensor in stages.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    path = entry_path("networks", digest.hexdigest()[:32])
    with suppress(OSError):
        content = path.read_bytes()
        os.utime(path)
        return content
    content = export_module(stages, input_shape, num_outputs=num_outputs)
    with suppress(OSError):  # a full disk, or a home that is only read: it is exported again
        make_room(len(content))
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    return content


def export_module(
    stages: "nn.Module", input_shape: tuple[int, ...], *, num_outputs: int = 1, output: str = "output"
) -> bytes:
    """One module as the bytes of an ONNX file: `images` (n, ...) to `output` (and output1, ... where it has more).

    Raises:
        EngineUnavailable: the exporter cannot do these stages.
    """
    import torch

    from lib.models.folding import share_module_tree

    content: Any = io.BytesIO()  # its annotation knows paths only
    copied: torch.nn.Module = share_module_tree(stages).eval()
    outputs = [output, *(f"output{number}" for number in range(1, num_outputs))]
    with _EXPORTING, _without_graphs(), warnings.catch_warnings(), torch.inference_mode(mode=False), torch.no_grad():
        warnings.simplefilter("ignore")  # of constants in a trace: the side of the images, which is fixed
        try:
            torch.onnx.export(
                copied, (torch.zeros(2, *input_shape),), content, dynamo=False, opset_version=_OPSET,
                input_names=[_INPUT], output_names=outputs,
                dynamic_axes={name: {0: "n"} for name in (_INPUT, *outputs)},
            )  # fmt: skip
        except Exception as error:  # the exporter fails in many ways, and torch can compute everything
            raise EngineUnavailable(f"the network cannot be exported ({_first_line(error)})") from error
    exported: bytes = content.getvalue()
    return exported


@contextmanager
def _without_graphs() -> Iterator[None]:
    """Where the exporter fails it prints the whole graph on standard output, whatever it is told: not so here."""
    import torch

    module: Any = torch._C
    log = getattr(module, "_jit_onnx_log", None)
    module._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        module._jit_onnx_log = log


def load_session(content: bytes) -> "onnxruntime.InferenceSession":
    """A session on the CPU of an ONNX file's bytes; raises EngineUnavailable where it cannot be loaded."""
    import onnxruntime
    import torch

    onnxruntime.disable_telemetry_events()
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # Threads that spin while they wait take the cores that pages and other programs need (lib/runtime.py).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineUnavailable(f"ONNX Runtime cannot load the network ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
