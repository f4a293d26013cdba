"""``regproxy export IMAGE...``: the verb; its work is imported when it is done, since that takes a while."""

from __future__ import annotations

from pathlib import Path

import click

from regproxy.cli.where import folder_option, usable_settings


@click.command("export", short_help="Write images as an OCI image layout.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE[:TAG|@DIGEST]...")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR|FILE.tar",
    help="A new or empty folder, or a new tar file.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be written.")
@click.option("--json", "as_json", is_flag=True, help="What came of it, on one line.")
@folder_option
def give(images: tuple[str, ...], target: Path, dry_run: bool, as_json: bool, config: Path | None) -> None:
    """Write images that are here whole, with all they need, to DIR or FILE.tar, as an OCI image layout.

    Without tag and digest all tags of the repository are meant. Of an image for many platforms those are
    written that are here. It reads the folder of the settings, whether or not a daemon runs on it.

    \b
    Exit codes: 0 all of them are written, 1 the settings cannot be used, 2 no such name, or a target that
    is there, 7 none of them is here whole, 8 not all of them are, or it could not be done, 130 interrupted.
    """
    from regproxy.cli.exporting import run

    raise SystemExit(run(images, target, usable_settings(config), dry_run=dry_run, as_json=as_json))
