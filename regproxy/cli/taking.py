"""``regproxy import SOURCE``: the verb; its work is imported when it is done, since that takes a while."""

from __future__ import annotations

from pathlib import Path

import click

from regproxy.cli.where import folder_option, usable_settings


@click.command("import", short_help="Take over another store, or an OCI image layout.")
@click.argument("source", type=click.Path(path_type=Path), metavar="DIR|FILE.tar")
@click.option(
    "--as",
    "named",
    metavar="UPSTREAM[/REPOSITORY[:TAG]]",
    help="Whose content it is, where the source does not say so.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would come; beside a daemon as well.")
@click.option("--json", "as_json", is_flag=True, help="What came of it, on one line.")
@folder_option
def take(source: Path, named: str | None, dry_run: bool, as_json: bool, config: Path | None) -> None:
    """Take in what lies in DIR, the filesystem store of a docker-registry or an OCI image layout, or in
    FILE.tar, such a layout.

    Each blob is verified, shared with DIR where the file system can, else copied; DIR stays as it is. Ended
    in the middle it goes on when it is begun again. The daemon must be stopped meanwhile.

    \b
    Exit codes: 0 all of it came, 1 the settings cannot be used, 2 nothing that can be taken in, or none of
    it with this --as, 7 nothing new was in it, 8 not all of it came, 9 a daemon runs, 130 interrupted.
    """
    from regproxy.cli.importing import run

    raise SystemExit(run(source, named, usable_settings(config), dry_run=dry_run, as_json=as_json))
