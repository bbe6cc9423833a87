"""What takes room in the home, to be deleted and brought back; and how much it may take."""

from typing import Any

import streamlit as st

from lib.progress import size_words
from lib.quota import NEAR, room, set_quota
from lib.storage import KINDS, Stored, delete_stored, empty_trash, list_storage, restore_stored
from pages.common import clicks, controls, resources, state
from pages.common.text import count, plain, readable

_ALL, _TRASH = "all", "trash"


def draw(_scene: Any) -> None:
    """Sizes by kind, the things themselves, what can be done with them, and the quota."""
    items = list_storage()
    _draw_quota()
    totals = {kind: sum(one.num_bytes for one in items if one.kind == kind) for kind in KINDS}
    titles = {_ALL: "Everything"} | {
        kind: f"{title} · {size_words(totals[kind])}" for kind, title in KINDS.items() if totals[kind]
    }
    if st.session_state.get("storage_kind") not in titles:
        st.session_state["storage_kind"] = _ALL
    kind = st.segmented_control("Kind", list(titles), key="storage_kind", required=True, label_visibility="collapsed",
                                format_func=titles.__getitem__)  # fmt: skip
    shown = [one for one in items if kind in (_ALL, one.kind)]
    if kind == _ALL:
        shown.sort(key=lambda one: -one.num_bytes)
    controls.show_table(
        [
            {"Kind": KINDS[one.kind], "What": readable(one.title, 60), "MiB": round(one.num_bytes / 2**20, 1),
             "Note": readable(one.note, 100)}
            for one in shown
        ],
        hide_index=True, height=250,
        column_config={
            "MiB": st.column_config.NumberColumn(format="%.1f", width="small"),
            "Note": st.column_config.TextColumn(width="medium"),
        },
        alt="What takes room: kind, name, size and note",
    )  # fmt: skip
    _draw_deletion([one for one in shown if one.kind != _TRASH and one.key])
    _draw_trash([one for one in items if one.kind == _TRASH])


def _draw_quota() -> None:
    found = room()
    quota_gib = max(0.1, round(found.quota_bytes / 2**30, 6)) if found.quota_bytes else None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.markdown(f"**{found.words}** used.", width="stretch")
        wanted = st.number_input(
            "Quota in GiB", 0.1, 1_000_000.0, value=quota_gib, step=1.0,
            key="storage_quota", placeholder="none", width=180,
            help="Imports, caches and trainings that would exceed it are refused with a sentence.",
        )  # fmt: skip
    if (None if wanted is None else int(wanted * 2**30)) != found.quota_bytes:  # in bytes: 0.3 GiB is no whole number
        set_quota(wanted)
        st.rerun()
    if found.share >= NEAR:
        st.warning(
            f"{100 * found.share:.0f} % of the quota are used; imports and trainings that need more are refused.",
            icon=":material/hard_drive:",
        )


def _draw_deletion(items: list[Stored]) -> None:
    """Some of what is shown, to be deleted: to the trash, or for good where it can be made again."""
    known = {f"{one.kind}/{one.key}": one for one in items}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.multiselect(
            "Delete", list(known), key="storage_chosen", placeholder="Choose what to delete",
            format_func=lambda key: _label(known[key]),
        )  # fmt: skip
        freed = sum(known[key].num_bytes for key in chosen)
        st.button(
            f"Delete {size_words(freed)}" if chosen else "Delete", icon=":material/delete:", key="storage_delete",
            disabled=not chosen, on_click=_delete, args=([known[key] for key in chosen],),
        )  # fmt: skip
    if final := [known[key] for key in chosen if known[key].is_final]:
        st.caption(f"For good, without undo: {', '.join(plain(one.title, 40) for one in final)}.")


def _draw_trash(items: list[Stored]) -> None:
    if not items:
        return
    known = {one.key: one for one in items if one.can_return}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = st.selectbox("In the trash", list(known), key="storage_trash", format_func=lambda one: _label(known[one]))
        st.button(
            "Bring back", icon=":material/undo:", key="storage_restore", on_click=_restore, args=(key,),
            disabled=key is None,
        )  # fmt: skip
        with st.popover("Empty the trash", icon=":material/delete_forever:"):
            st.markdown(f"{count(len(items), 'deleted thing')} would be gone for good.")
            st.button("Empty now", key="storage_empty", on_click=_empty)


def _label(one: Stored) -> str:
    return readable(f"{KINDS[one.kind].removesuffix('s')}: {one.title} ({size_words(one.num_bytes)})", 90)


def _delete(items: list[Stored]) -> None:
    if clicks.is_repeat(f"delete {[one.key for one in items]}"):
        return
    undo = []
    with controls.keep_error("explore", "delete it"):
        for one in items:
            back = delete_stored(one.kind, one.key)
            undo += [back] if back else []
    st.session_state["storage_chosen"] = []
    room(is_fresh=True)
    resources.forget_dataset()
    if (gone := state.current_dataset()) and any(one.kind == "dataset" and one.key == gone for one in items):
        state.choose_dataset(None)
    if undo:

        def bring_back() -> None:
            for back in undo:
                back()
            resources.forget_dataset()

        controls.offer_undo("data set", count(len(undo), "thing"), bring_back)


def _restore(key: str) -> None:
    with controls.keep_error("explore", "bring it back"):
        restore_stored(key)
        resources.forget_dataset()


def _empty() -> None:
    if not clicks.is_repeat("empty the trash"):
        with controls.keep_error("explore", "empty the trash"):
            empty_trash()
            room(is_fresh=True)
