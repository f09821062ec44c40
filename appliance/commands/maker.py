"""`switchroom licence new-key` and `switchroom licence issue`: for the maker, who is whoever builds the system.

`new-key` is done once. The private half signs licences and stays with the maker. The public half goes into the checkout, from where every
build takes it in, or to a system that runs from the checkout (entitlement.py says who looks where).
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.config import licensing
from appliance.host import entitlement
from appliance.storage import on_disk


@click.command("new-key")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Give the public half to the system that runs from this checkout on this directory, instead of to the next build.",
)
def new_key(file: Path, data: Path | None) -> None:
    """Make the maker's key: the private half in FILE, the public half where it is looked for. To be done once."""
    target = data.absolute() / entitlement.PUBLIC_HALF if data else entitlement.MAKER_KEY
    if data is None and not entitlement.from_checkout():
        _refuse("This system was built already. Make the key in the checkout that it is built from.")
    for there in (file, target):
        if there.exists():
            _refuse(f"{there} exists already. Licences that were issued with another key would not be taken any more; remove it if you mean that.")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(private)
        on_disk.write(target, public, 0o644)
    except OSError as error:
        _refuse(f"The key could not be written: {error.strerror}.")
    click.echo(f"{file} signs licences: keep it, and keep it secret.")
    click.echo(f"{target} is its public half" + ("." if data else "; every build of this checkout takes it in from now on."))


@click.command("issue")
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The maker's private key (PEM).",
)
@click.option("--box", required=True, help="Id of the box, from `switchroom licence show`.")
@click.option("--users", type=click.IntRange(1, 100_000), required=True)
@click.option("--edition", default="standard", show_default=True)
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="Last day of the licence; without it, never.")
@click.option("--maintenance-until", type=click.DateTime(["%Y-%m-%d"]), help="Last day of updates.")
def issue(key: Path, box: str, users: int, edition: str, expires: Any, maintenance_until: Any) -> None:
    """Print a signed licence file."""
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError):
        _refuse(f"{key} is not a private key without a passphrase.")
    if not isinstance(private, Ed25519PrivateKey):
        _refuse(f"{key} is not an Ed25519 private key.")
    days = {"expires": expires and expires.date(), "maintenance_until": maintenance_until and maintenance_until.date()}
    today = datetime.now(UTC).date()
    click.echo(licensing.issue(private, box=box, users=users, edition=edition, issued=today, **days))


def _refuse(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(2)


COMMANDS: dict[str, click.Command] = {"new-key": new_key, "issue": issue}
