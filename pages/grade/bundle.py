"""Take the model with you: its zip and ONNX file, a bundle from elsewhere, and the registry of models."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from lib.disk_cache import entry_path, size_words
from lib.errors import UserError
from lib.grading import imported
from lib.models.bundle_files import MAX_BUNDLE_BYTES
from lib.progress import Progress
from lib.tracking import model_registry
from lib.tracking.model_registry import CHAMPION
from pages.common import background, controls, resources
from pages.common.text import plain, readable

_IMPORT = "bundle_import"
_REGISTRY = "bundle_registry"


def draw_bundle(run_id: str) -> None:
    """Everything to take a classifier away (a run, or an imported bundle), and to bring one here."""
    is_run = not run_id.startswith(imported.ID_START)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Take it away**")
        _offer(run_id, "zip", "Everything to grade elsewhere", _write_zip)
        _offer(run_id, "onnx", "The network as an ONNX file", _write_onnx)
        st.caption(
            "The zip holds weights, classes, preprocessing, limits, domain gate, figures, versions, licences and a "
            "checksum of every file. The ONNX file goes from the normalised input to probabilities, and is compared "
            "with torch before it is kept."
        )
    with right:
        st.markdown("**Bring one here**")
        take_bundle()
        _list_bundles()
    st.markdown("**Registry of models**")
    if is_run:
        _draw_registry(run_id)
    else:
        st.caption("An imported bundle is no run of this store, so it cannot be registered.")


def _write_zip(run_id: str, target: Path, progress: Progress) -> None:
    from lib.grading.taking_away import export_run

    export_run(run_id, target, progress=progress)


def _write_onnx(run_id: str, target: Path, progress: Progress) -> None:
    from lib.grading.grader import Grader
    from lib.grading.onnx_export import write_onnx

    progress(0, 3, "Loading the network")
    write_onnx(Grader.open(run_id, device="cpu"), target, progress=progress)


def _offer(run_id: str, suffix: str, title: str, write: Callable[[str, Path, Progress], None]) -> None:
    """A button that makes the file in the background, once; then one that downloads it."""
    name = f"bundle_{suffix}_{run_id}"
    target = entry_path("exports", f"{run_id}.{suffix}")
    task = background.find(name)
    if task is not None and not task.is_over:
        background.watch(name)
        return
    background.show_measurement_failure(name) if task is not None and task.error else background.forget(name)
    if target.is_file() and target.stat().st_mtime >= _changed_s(run_id):
        st.download_button(
            f"Download .{suffix} ({size_words(target.stat().st_size)})", target.read_bytes,
            file_name=f"transferscope_{run_id.removeprefix(imported.ID_START)[:8]}.{suffix}",
            mime="application/zip" if suffix == "zip" else "application/octet-stream",
            key=f"bundle_get_{suffix}", icon=":material/download:", on_click="ignore", help=title,
        )  # fmt: skip
        return

    def work(progress: Progress) -> str:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(run_id, target, progress)
        return target.name

    st.button(
        f"Make the .{suffix}", key=f"bundle_make_{suffix}", icon=":material/inventory_2:", help=title,
        on_click=background.start, args=(name, title, work),
    )  # fmt: skip


def _changed_s(run_id: str) -> float:
    """When the classifier last changed: an operating point that is stored later makes an older file out of date."""
    from lib.grading.manifest import find_bundle

    return max(file.stat().st_mtime for file in find_bundle(run_id)[0].iterdir())


def take_bundle() -> None:
    """An uploader of one bundle, which is checked and kept in the background."""
    turn = st.session_state.setdefault("bundle_turn", 0)
    upload = st.file_uploader(
        "A bundle's zip", type="zip", key=f"bundle_upload_{turn}",
        disabled=background.is_measuring(_IMPORT), max_upload_size=MAX_BUNDLE_BYTES // 2**20,
        help="As this page or `python -m lib export` writes it. It is checked in every way; nothing of it is run.",
    )  # fmt: skip
    if upload is not None:
        with tempfile.NamedTemporaryFile(prefix="bundle-", suffix=".zip", delete=False) as opened:
            opened.write(upload.getbuffer())
        path, name = Path(opened.name), Path(upload.name).name

        def work(progress: Progress) -> str:
            progress(0, 0, "Checking the bundle")
            try:
                return imported.import_bundle(path, label=Path(name).stem).name
            except UserError as error:
                raise UserError(str(error).replace(path.name, name)) from error
            finally:
                path.unlink(missing_ok=True)

        background.start(_IMPORT, "Importing a bundle", work)
        resources.forget_uploads([upload])
        st.session_state["bundle_turn"] = turn + 1
        st.rerun()
    background.watch(_IMPORT)
    background.show_outcome(_IMPORT, "Imported; choose it under “Graded by”.")


def _list_bundles() -> None:
    controls.show_kept_error(_IMPORT)
    controls.show_undo("bundle")
    for kept in imported.list_bundles():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{plain(kept.name)} `{kept.bundle_id}`")
            st.button(
                "Delete", key=f"bundle_delete_{kept.bundle_id}", type="tertiary", icon=":material/delete:",
                on_click=_delete, args=(kept.bundle_id, kept.name),
            )  # fmt: skip


def _delete(bundle_id: str, name: str) -> None:
    with controls.keep_error(_IMPORT, "delete the bundle"):
        imported.delete_bundle(bundle_id)
        controls.offer_undo("bundle", name, lambda: imported.restore_bundle(bundle_id))


def _draw_registry(run_id: str) -> None:
    """MLflow takes seconds to import, so nothing is asked before somebody wants it."""
    controls.show_kept_error(_REGISTRY)
    if not st.toggle("Show the registry", key="bundle_registry_open"):
        return
    try:
        with st.spinner("Asking the registry …"):
            versions = model_registry.registered_versions()
    except UserError as error:
        st.error(plain(str(error), 400), icon=":material/error:")
        return
    with st.form("bundle_register", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Register this run as", key="bundle_name", placeholder="eyes")
        st.form_submit_button("Register", icon=":material/bookmark_add:", on_click=_register, args=(run_id,))
    for one in versions:
        _draw_version(one)
    names = sorted({one.name for one in versions if CHAMPION in one.aliases})
    for name in names:
        st.button(
            f"Roll back {readable(name)}@{CHAMPION}", key=f"bundle_back_{name}", icon=":material/undo:",
            help="Let the alias point again to the version that it had before.", on_click=_change,
            args=("roll back", lambda name=name: model_registry.roll_back(name)),
        )  # fmt: skip


def _draw_version(one: model_registry.ModelVersion) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        aliases = "".join(f" :violet-badge[{plain(alias)}]" for alias in one.aliases)
        st.markdown(f"**{plain(one.name)}** version {one.version}, run `{one.run_id[:8]}`{aliases}")
        if CHAMPION not in one.aliases:
            st.button(
                "Make it the champion", key=f"bundle_champion_{one.name}_{one.version}", type="tertiary",
                icon=":material/trophy:", on_click=_change,
                args=("move the alias", lambda: model_registry.set_alias(one.name, CHAMPION, one.version)),
            )  # fmt: skip


def _register(run_id: str) -> None:
    name = str(st.session_state.get("bundle_name", "")).strip()
    _change("register the run", lambda: model_registry.register_run(run_id, name))


def _change(what: str, work: Callable[[], Any]) -> None:
    with controls.keep_error(_REGISTRY, what):
        work()
