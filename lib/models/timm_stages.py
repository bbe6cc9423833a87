"""Any network of timm cut into named stages where timm's own `feature_info` says that its features are.

The forward pass of the network is recorded down to the modules that `feature_info` names, which are called whole. A cut
is kept where everything that comes after it is computed from the one tensor that passes through it; so the stages
compose to the network exactly. What does not depend on the image (position codes) is computed where it is needed.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, fx, nn

from lib.errors import UserError
from lib.models.backbone_spec import TIMM, BackboneSpec

FEATURES, POOL, LOGITS = "features", "pool", "logits"


def build_timm(name: str) -> nn.Module:
    """Build `timm:NAME` with random weights: nothing is read or fetched."""
    return _create(name, pretrained=False)


def load_timm(name: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build `timm:NAME` with the tensors of its published file, in whatever form timm knows that file.

    Raises:
        UserError: they are not the weights of this network.
    """
    if not tensors:  # timm would fetch the published ones
        raise UserError(f"These are not the weights of {name} (there is no tensor among them).")
    overlay = {"state_dict": dict(tensors), "custom_load": False}
    try:
        return _create(name, pretrained=True, pretrained_cfg_overlay=overlay).float()
    except (RuntimeError, KeyError, ValueError, AttributeError, IndexError, TypeError) as error:
        lines = str(error).splitlines()
        raise UserError(f"These are not the weights of {name} ({' '.join(lines[:2])[:200]}).") from error


def _create(name: str, **options: Any) -> nn.Module:
    import timm

    bare = name.removeprefix(TIMM)
    try:
        # Position codes that are fitted to each image's size in the forward pass could not be recorded.
        network: nn.Module = timm.create_model(bare, dynamic_img_size=False, **options)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        network = timm.create_model(bare, **options)
    return network


def split_timm(network: nn.Module, spec: BackboneSpec) -> dict[str, nn.Module]:
    """Stage name -> module, in order; the modules share the parameters of `network`."""
    turned = {stage.name for stage in spec.stages if stage.is_channels_last}
    return dict(segments(network, turned, set(spec.stage_names)))


class TimmStage(fx.GraphModule):
    """A piece of a network's recorded forward pass, with the modules that it calls."""

    def extra_repr(self) -> str:
        """The recorded code: two stages that only differ in it must not look alike (lib/features/onnx_session.py)."""
        return str(self.code).strip()


class _Tracer(fx.Tracer):
    """Records calls of modules down to those that hold no cut inside."""

    def __init__(self, opened: set[str]) -> None:
        super().__init__()
        self._opened = opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is called whole."""
        return module_qualified_name not in self._opened


def feature_channels(network: Any) -> dict[str, int]:
    """Stage name -> channels of timm's own features, in order; raises UserError where timm names none."""
    return {path.replace(".", "_"): channels for path, channels in _feature_info(network).items()}


def not_divisible(error: Exception) -> UserError:
    """The error for a network whose forward pass cannot be recorded."""
    return UserError(
        "This network cannot be cut into stages: its forward pass depends on the image or keeps values of it "
        f"({type(error).__name__}). Choose another network."
    )


def _feature_info(network: Any) -> dict[str, int]:
    info = getattr(network, "feature_info", None) or []
    entries = info if isinstance(info, list) else getattr(info, "info", [])
    found = {str(entry["module"]): int(entry["num_chs"]) for entry in entries if entry.get("module")}
    if not found:
        raise UserError(
            "This network has no feature_info, by which timm says where its features are, so it cannot be cut into "
            "stages. Choose another network."
        )
    return found


def segments(
    network: nn.Module, turned: Collection[str], kept: Collection[str] | None = None
) -> Iterator[tuple[str, "TimmStage"]]:
    """Name and module of each stage in order, by default of all that can be.

    Those in `turned` end in (N, H, W, C), which is handed on as (N, C, H, W).
    """
    graph, cuts = _record(network)
    image = previous = next(node for node in graph.nodes if node.op == "placeholder")
    last, was_turned = next(reversed(cuts.values())), False
    for name, end in cuts.items():
        needed = _needed(end, previous, image)
        is_passed_by_all = end is last or _needed(last, end, image) is not None
        if needed is None or end is previous or not is_passed_by_all or (kept is not None and name not in kept):
            continue
        part = fx.Graph()
        entry = part.placeholder("x")
        copies = {previous: part.call_method("permute", (entry, 0, 2, 3, 1)) if was_turned else entry}
        for node in graph.nodes:
            if node in needed:
                copies[node] = part.node_copy(node, copies.__getitem__)
        was_turned = name in turned
        part.output(part.call_method("permute", (copies[end], 0, 3, 1, 2)) if was_turned else copies[end])
        yield name, TimmStage(network, part)
        previous = end


def _record(network: Any) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """The forward pass as a graph, and where it may be cut, in order."""
    modules = list(_feature_info(network))
    classifier = _classifier_name(network)
    inner = [path.split(".") for path in (*modules, *([classifier] if classifier else []))]
    tracer = _Tracer({".".join(parts[:depth]) for parts in inner for depth in range(1, len(parts))})
    with _noted_features(network) as found:
        try:
            graph = tracer.trace(network)
        except Exception as error:  # recording fails in as many ways as networks are written
            raise not_divisible(error) from error
    cuts = {path.replace(".", "_"): node for path, node in _feature_nodes(graph, modules)}
    end = next(node for node in graph.nodes if node.op == "output").args[0]
    called = [node for node in graph.nodes if node.op == "call_module" and node.target == classifier]
    ends = [(FEATURES, found[0] if found else None), (POOL, called[0].args[0] if called else None)]
    ends.append((POOL if isinstance(network.get_classifier(), nn.Identity) else LOGITS, end))
    cuts |= {name: node for name, node in ends if isinstance(node, fx.Node)}
    return graph, cuts


def _feature_nodes(graph: fx.Graph, modules: list[str]) -> Iterator[tuple[str, fx.Node]]:
    """The last call of each module; of a list of modules, the last call inside it."""
    calls = {str(node.target): node for node in graph.nodes if node.op == "call_module"}
    for path in modules:
        inside = [node for target, node in calls.items() if target == path or target.startswith(f"{path}.")]
        if inside:
            yield path, inside[-1]


def _needed(end: fx.Node, previous: fx.Node, image: fx.Node) -> set[fx.Node] | None:
    """The nodes from `previous` to `end`; None where a way from the image leads past `previous`."""
    needed: set[fx.Node] = set()
    waiting = [end]
    while waiting:
        node = waiting.pop()
        if node is previous or node in needed:
            continue
        if node is image:
            return None
        needed.add(node)
        waiting.extend(node.all_input_nodes)
    return needed


@contextmanager
def _noted_features(network: Any) -> Iterator[list[fx.Node | None]]:
    """Note what `forward_features` gives while the network is recorded."""
    found: list[fx.Node | None] = []
    original = network.forward_features

    def noting(*given: Any, **options: Any) -> Any:
        output = original(*given, **options)
        found.append(output.node if isinstance(output, fx.Proxy) else None)
        return output

    network.forward_features = noting
    try:
        yield found
    finally:
        del network.forward_features


def _classifier_name(network: Any) -> str:
    classifier = network.get_classifier()
    if not isinstance(classifier, nn.Module) or isinstance(classifier, nn.Identity):
        return ""  # several heads, or none
    return next((path for path, module in network.named_modules() if module is classifier), "")
