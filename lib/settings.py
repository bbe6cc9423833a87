"""Where things are kept, limits, and telemetry off. Reads the environment at each call."""

import os
from functools import lru_cache
from pathlib import Path

from lib.errors import UserError

# Nothing here reports to anybody. Must be set before mlflow, streamlit or timm are imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# timm brings huggingface_hub along, which asks its server about every file it opens unless it is told not to.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")
# Children that import from the current folder must find this project first.
PROJECT_ROOT = Path(__file__).resolve().parents[1]
ASSETS_DIR = PROJECT_ROOT / "assets"

DEFAULT_STORE_SIDE_PX = 384
DEFAULT_BACKBONE = "efficientnet_lite0"
# Takes its place where the package that holds the default's weights is missing.
FALLBACK_BACKBONE = "bundled_vgg"
DEFAULT_DATASET = "synthetic-fundus"
DEMO_DATASET = "fundus-demo"  # comes with the program, with recorded runs

MAX_IMAGE_PIXELS = 50_000_000
MAX_FILE_BYTES = 50 * 2**20
MAX_UPLOAD_FILES = 500
MAX_ARCHIVE_BYTES = 500 * 2**20
MAX_ARCHIVE_RATIO = 100
DECODE_TIMEOUT_S = 5.0
DECODER_MEMORY_MIB = 4096

HEARTBEAT_INTERVAL_S = 1.0
HEARTBEAT_STALE_S = 30.0
CHECKPOINT_INTERVAL_S = 30.0


def home() -> Path:
    """The folder for everything made at run time: TRANSFERSCOPE_HOME.

    By default `data/` of the checkout; for an installed program, whose own folder may be read-only, `transferscope/` in
    the data folder of the user (XDG_DATA_HOME).
    """
    folder = os.environ.get("TRANSFERSCOPE_HOME")
    if not folder:
        is_checkout = (PROJECT_ROOT / "pyproject.toml").is_file()
        of_user = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "transferscope"
        folder = str(PROJECT_ROOT / "data" if is_checkout else of_user)
    return _resolved(folder, os.environ.get("HOME", ""), os.getcwd())  # noqa: PTH109 (a Path costs ten times as much)


@lru_cache(maxsize=64)  # a page asks some fifty times while it is drawn
def _resolved(folder: str, _home_of_user: str, _current_folder: str) -> Path:
    return Path(folder).expanduser().resolve()


def datasets_dir() -> Path:
    """Imported data sets, one folder each."""
    return _made(home() / "datasets")


def downloads_dir() -> Path:
    """Public data sets as they were downloaded and unpacked, one folder each."""
    return _made(home() / "downloads")


def cache_dir() -> Path:
    """Feature caches and `doctor.json`; may be deleted at any time."""
    return _made(home() / "cache")


def runs_dir() -> Path:
    """Run folders, the MLflow database and the job table."""
    return _made(home() / "runs")


def bundles_dir() -> Path:
    """Classifiers that were imported from elsewhere, one folder each."""
    return _made(home() / "bundles")


def trash_dir() -> Path:
    """What was deleted and can be restored."""
    return _made(home() / "trash")


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, by default an SQLite file below `runs_dir()`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs_dir() / 'mlflow.db'}"


def checkpoint_interval_s() -> tuple[float, bool]:
    """Seconds between two checkpoints, and whether somebody asked for them: TRANSFERSCOPE_CHECKPOINT_S, by default 30.

    An asked-for interval is kept however long saving takes.
    """
    asked = os.environ.get("TRANSFERSCOPE_CHECKPOINT_S", "")
    try:
        return max(0.0, float(asked)), True
    except ValueError:
        return CHECKPOINT_INTERVAL_S, False


def torch_hub_dir() -> Path:
    """Where torch keeps downloaded weights (same rule as torch.hub.get_dir, without importing torch)."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(os.environ.get("TORCH_HOME") or default).expanduser() / "hub"


def hub_cache_dir() -> Path:
    """Where huggingface_hub keeps downloads (its own rule, without importing it)."""
    own = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or own / "hub").expanduser()


def allowed_roots() -> tuple[Path, ...]:
    """Folders below which paths typed into the dashboard are accepted.

    TRANSFERSCOPE_ALLOWED_ROOTS (separated like PATH), by default the start directory and its parent, the home and the
    data folder.
    """
    given = os.environ.get("TRANSFERSCOPE_ALLOWED_ROOTS")
    if given:
        return tuple(Path(part).expanduser().resolve() for part in given.split(os.pathsep) if part)
    start = Path.cwd().resolve()
    return tuple(dict.fromkeys((start, start.parent, Path.home().resolve(), home())))


def check_allowed(path: str | Path) -> Path:
    """Resolve a path typed into the dashboard; raises UserError if it lies below none of the allowed roots."""
    resolved = Path(path).expanduser().resolve()
    roots = allowed_roots()
    # A root of "/" (a server started in the root directory, or its parent) would allow everything.
    if any(resolved.is_relative_to(root) for root in roots if root != Path(root.anchor)):
        return resolved
    listed = ", ".join(str(root) for root in roots if root != Path(root.anchor))
    raise UserError(
        f"The folder {resolved} is outside the allowed folders ({listed}). Move the images below one of them, "
        "or start the dashboard with TRANSFERSCOPE_ALLOWED_ROOTS set."
    )


def is_allowed(path: str | Path) -> bool:
    """Whether a path leads, links followed, to where the dashboard may look."""
    try:
        check_allowed(path)
    except (UserError, OSError, RuntimeError):  # links in a circle
        return False
    return True


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
