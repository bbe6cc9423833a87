"""`weights list | download`, `caches list | clear | limit` and `storage ...`: what is kept on the disk."""

from dataclasses import asdict

import click

from lib import disk_cache
from lib.cli.output import ProgressLine, answer, describe_time, json_option, note, print_json, print_table
from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.models.downloads import download_weights
from lib.models.weights import all_weights_status, default_backbone, fallback_sentence
from lib.progress import size_words
from lib.quota import room, set_quota


@click.group()
def caches() -> None:
    """Show and clear what is kept to save time: features, activations, preprocessed images."""


@click.group()
def storage() -> None:
    """Say what takes room, delete it, bring it back, and set a quota."""


@storage.command("list")
@json_option
def list_stored(as_json: bool) -> None:
    """List data sets, runs, caches, downloads, interrupted imports and what was deleted, with their sizes."""
    from lib.storage import KINDS, list_storage

    found, now = list_storage(), room(is_fresh=True)
    if as_json:
        print_json(
            {"items": [asdict(one) for one in found], "used_bytes": now.used_bytes, "quota_bytes": now.quota_bytes}
        )
        return
    words = disk_cache.size_words
    print_table(
        [(one.kind, one.key, one.title, words(one.num_bytes), describe_time(one.last_s), one.note) for one in found],
        ("kind", "key", "what", "size", "last used", ""),
    )
    for kind, title in KINDS.items():
        if own := [one.num_bytes for one in found if one.kind == kind]:
            click.echo(f"{title}: {words(sum(own))}")
    click.echo(f"In all {now.words}.")


@storage.command("delete")
@click.argument("kind")
@click.argument("key")
def delete_item(kind: str, key: str) -> None:
    """Delete one thing, by its KIND and KEY in `storage list`; data sets, runs and downloads go to the trash."""
    from lib.storage import delete_stored

    is_kept = delete_stored(kind, key) is not None
    click.echo(f"Deleted {key}." + (" It is in the trash: python -m lib storage list" if is_kept else ""))


@storage.command("restore")
@click.argument("key")
def restore_item(key: str) -> None:
    """Bring back what lies in the trash, by its KEY in `storage list`."""
    from lib.storage import restore_stored

    restore_stored(key)
    click.echo(f"Restored {key}.")


@storage.command("empty-trash")
@json_option
def empty(as_json: bool) -> None:
    """Remove for good what was deleted."""
    from lib.storage import empty_trash

    freed = empty_trash()
    answer({"freed_bytes": freed}, f"The trash is empty; {disk_cache.size_words(freed)} set free.", as_json=as_json)


@storage.command("quota")
@click.argument("gib")
def limit_storage(gib: str) -> None:
    """Let everything here take at most GIB gibibytes; "none" takes the quota away. Imports and trainings heed it."""
    try:
        wanted = None if gib == "none" else float(gib)
    except ValueError:
        raise UserError(f"The quota is a number of GiB or none, not {gib!r}.") from None
    set_quota(wanted)
    click.echo(f"{room(is_fresh=True).words} used." if wanted else "There is no quota now.")


@caches.command("list")
@json_option
def list_caches(as_json: bool) -> None:
    """Show every entry, most recently used first, and how full the cache is."""
    entries, found = disk_cache.list_entries(), disk_cache.usage()
    rows = [
        (entry.key[:12], disk_cache.KINDS[entry.kind], size_words(entry.num_bytes),
         describe_time(entry.used_s), not disk_cache.is_free(entry))
        for entry in entries
    ]  # fmt: skip
    if as_json:
        listed = [
            {**{key: getattr(entry, key) for key in ("key", "kind", "num_bytes", "used_s")}, "in_use": row[4]}
            for entry, row in zip(entries, rows, strict=True)
        ]
        print_json({"entries": listed, "used_bytes": found.used_bytes, "limit_bytes": found.limit_bytes})
        return
    print_table(rows, ("entry", "holds", "size", "last used", "in use"))
    words = size_words
    click.echo(
        f"{words(found.used_bytes)} of {words(found.limit_bytes)} used; the disk has {words(found.free_bytes)} free."
    )


@caches.command("clear")
@json_option
def clear_caches(as_json: bool) -> None:
    """Delete every entry that no training is using; everything in it can be computed again."""
    num_bytes, num_kept = disk_cache.clear()
    kept = f"; {num_kept} in use stayed" if num_kept else ""
    sentence = f"Cleared {size_words(num_bytes)}{kept}."
    answer({"freed_bytes": num_bytes, "num_in_use": num_kept}, sentence, as_json=as_json)


@caches.command("limit")
@click.argument("gib", type=float)
def limit_caches(gib: float) -> None:
    """Keep at most GIB gibibytes; what was used least recently goes first."""
    removed = disk_cache.set_cache_limit(gib)
    freed = size_words(sum(entry.num_bytes for entry in removed))
    click.echo(f"The cache holds at most {gib:g} GiB; {freed} removed.")


def backbone_or_default(name: str | None) -> str:
    """The named backbone, or the default one, saying so where the fallback takes its place."""
    if name:
        return name
    if sentence := fallback_sentence():
        note(sentence)
    return default_backbone()


@click.group()
def weights() -> None:
    """List and download pretrained weights."""


@weights.command("list")
@json_option
def list_weights(as_json: bool) -> None:
    """Show for every backbone whether its pretrained weights are at hand, and what they were trained on."""
    found = all_weights_status()
    if as_json:
        entries = [
            {**asdict(status), "pretrained_on": BACKBONES.get(status.backbone).pretrained_on} for status in found
        ]
        print_json({"weights": entries})
        return
    rows = [
        (
            status.backbone, BACKBONES.get(status.backbone).pretrained_on, status.place, status.size_mib, status.file
        )
        for status in found
    ]  # fmt: skip
    print_table(rows, ("backbone", "pretrained on", "at hand", "MiB", "file"))
    downloads = next(status.folder for status in found if not status.is_installed)
    packages = ", ".join(status.package for status in found if status.package)
    click.echo(
        f"Downloads are kept in {downloads}; the bundled file comes with the program, those in a package with "
        f"{packages}."
    )


@weights.command()
@click.argument("backbone")
def download(backbone: str) -> None:
    """Download the pretrained weights of a backbone to where torchvision looks for them."""
    with ProgressLine() as progress:
        path = download_weights(backbone, progress)
    click.echo(f"{backbone}: {path}")
