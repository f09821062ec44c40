"""How phones and browsers know that they talk to this box: certificate fingerprints and the authority to install."""

from __future__ import annotations

from flask import Blueprint, Response, abort, render_template
from flask.typing import ResponseReturnValue

from webui.desk import desk
from webui.login.guard import acting, route

pages = Blueprint("encryption", __name__)


@route(pages, "/encryption", may="see extension")
def listing() -> ResponseReturnValue:
    extensions = acting().snapshot.extensions.values()
    policies = {
        policy: [one for one in extensions if one.encrypt == policy] for policy in ("required", "preferred", "off")
    }
    return render_template("encryption.html", certificate=desk().certificate(), policies=policies, boot=desk().boot)


@route(pages, "/encryption/authority.crt", role="anyone")
def authority() -> ResponseReturnValue:
    """Public by nature, and phones fetch it without a login."""
    certificate = desk().certificate()
    if certificate is None:
        abort(404)
    return Response(
        certificate.authority_file.read_bytes(),
        mimetype="application/x-x509-ca-cert",
        headers={"Content-Disposition": "attachment; filename=switchroom-authority.crt"},
    )
