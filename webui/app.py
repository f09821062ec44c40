"""The Flask application: pages, their guard, the session, and how templates find style sheets and icons."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, current_app, g, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError  # type: ignore[import-untyped]
from jinja2 import StrictUndefined
from markupsafe import Markup
from werkzeug.exceptions import Forbidden as ForbiddenPage
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import NotFound as NotFoundPage
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.security import safe_join

from appliance import cti
from appliance.box import update_client
from appliance.config.admin import NotFound
from appliance.config.model import Snapshot, User
from appliance.config.rights import Actor, Forbidden, actor_of
from appliance.storage.database import StorageDamaged, StorageFailed
from appliance.version import VERSION
from webui import wording
from webui.api.app import create_api
from webui.api.everything import BASE, OPERATIONS
from webui.desk import Desk, desk
from webui.login import guard, unsent
from webui.login.sessions import ServerSideSessions
from webui.menu import BLUEPRINTS, MENU
from webui.serving import compression
from webui.serving.compression import MaskedTokens
from webui.wording import say, t

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
LARGEST_FORM = 1 << 20  # octets
LARGEST = {
    "updates.upload": 512 << 20,
    "backup.restore": 4 << 30,
    "setup.take_backup": 4 << 30,
}  # of the pages that take a file


class Assets:
    """Addresses of static files. Each carries a hash of the contents, so that browsers may keep it for good."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        manifest = folder / "vendor" / "manifest.json"
        if not manifest.exists():
            raise SystemExit("The admin page's style sheets are not built yet: run  python -m webui.build")
        self._vendor: dict[str, str] = json.loads(manifest.read_text())["files"]
        self._versions = {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()[:10]
            for file in folder.rglob("*")
            if file.is_file() and "vendor" not in file.relative_to(folder).parts
        }

    def address(self, name: str) -> str:
        if name in self._vendor:
            return url_for("static", filename=f"vendor/{self._vendor[name]}")
        return url_for("static", filename=name, v=self._versions[name])

    def icon(self, name: str, *classes: str) -> Markup:
        return Markup(
            '<svg class="icon {}" width="24" height="24" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>'
        ).format(" ".join(classes), self.address("icons.svg"), name)


def create_app(made: Desk) -> Flask:
    """The admin pages on a desk. Nothing is read from the environment."""
    app = Flask(__name__, static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=LARGEST_FORM,
        FRAME="base.html",
    )
    app.before_request(_allow_files)
    furnish(app, made, actor_of, tuple(f"{entry.page}.listing" for _, entries in MENU for entry in entries))
    app.jinja_env.globals.update(menu=MENU)
    for pages in BLUEPRINTS:
        app.register_blueprint(pages)
    api = create_api(made, OPERATIONS)
    app.extensions["api"] = api
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {BASE: api.wsgi_app})  # type: ignore[method-assign]
    return app


def furnish(
    app: Flask, made: Desk, actor: Callable[[User, Snapshot], Actor], homes: tuple[str, ...], *, portal: bool = False
) -> None:
    """What the pages of either port have: the desk, sessions, their guard, style sheets and icons, wording, what is said when something fails."""
    app.extensions["switchroom"] = made
    # tokens in forms die with their session
    app.config.update(SECRET_KEY=made.sessions.secret(), WTF_CSRF_TIME_LIMIT=None, TRUSTED_HOSTS=None)
    app.session_interface = ServerSideSessions(made.sessions, made.now, portal=portal)
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.after_request(compression.compress)
    guard.install(app, actor, homes)
    MaskedTokens(app)  # after the guard: who was logged out is sent to the login, with what was typed
    wording.install(app)
    assets = Assets(STATIC)
    app.jinja_env.globals.update(
        asset=assets.address, icon=assets.icon, may=guard.may, opens=guard.opens, home=guard.home, drawn_from=lambda: g.mark
    )
    app.context_processor(_for_every_page)
    _serve_static(app)
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(Forbidden, lambda error: _explain(ForbiddenPage(wording.say(error.said))))
    app.register_error_handler(NotFound, lambda _: _explain(NotFoundPage()))
    app.register_error_handler(StorageFailed, _storage)
    app.register_error_handler(Exception, _apologise)


def _role(person: User) -> str:
    """How much the person may do, in a word."""
    return wording.say(person.declared.choice("role", person.role)[0])


def _allow_files() -> None:
    if (largest := LARGEST.get(request.endpoint or "")) is not None:
        request.max_content_length = largest


def _for_every_page() -> dict[str, Any]:
    return {
        "frame": current_app.config["FRAME"],
        "portal": current_app.config["FRAME"] != "base.html",
        "person": getattr(g, "person", None),
        "role": _role(g.person) if getattr(g, "person", None) else "",
        "now": desk().now(),
        "start": desk().start,
        "hostname": request.host,
        "office_zone": str(desk().admin.snapshot.zone),
        "version": VERSION,
        "box_name": desk().admin.snapshot.settings.name if getattr(g, "person", None) else "",
        "no_emergency": wording.no_emergency(desk().admin.snapshot),
        "damaged": update_client.damaged(),
        "damage": desk().damage,
        "unsent": unsent.waiting() if getattr(g, "person", None) else None,
    }


def _serve_static(app: Flask) -> None:
    def static(filename: str) -> Response:
        plain = safe_join(str(STATIC), filename)
        if plain is None or not Path(plain).is_file():
            abort(404)
        coding, contents = compression.packed(Path(plain)) or ("", Path(plain))
        kind = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        if isinstance(contents, bytes):
            response = Response(contents, mimetype=kind)
            response.add_etag()
            response.make_conditional(request)
        else:
            response = send_file(contents, mimetype=kind, conditional=True)
        if coding:
            response.headers["Content-Encoding"] = coding
        response.vary.add("Accept-Encoding")
        versioned = "v" in request.args or filename.startswith("vendor/")
        response.headers["Cache-Control"] = f"public, max-age={31536000 if versioned else 300}" + (
            ", immutable" if versioned else ""
        )
        return response

    static.role = "anyone"  # type: ignore[attr-defined]
    app.add_url_rule("/static/<path:filename>", "static", static)


EXPLAINED = (400, 403, 404, 405, 413, 429)  # what a status means to the person who sees it stands in the catalogue


def _explain(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:
        return error.response
    status = error.code or 500
    name = "too-long-open" if isinstance(error, CSRFError) else str(status) if status in EXPLAINED else "other"
    title, sentence = t(f"problem.{name}"), t(f"problem.{name}-help")
    if status in (403, 404) and error.description not in (NotFoundPage.description, ForbiddenPage.description):
        sentence = error.description or sentence  # somebody who knows more
    response = Response(render_template("error.html", title=title, sentence=sentence), status)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _storage(error: StorageFailed) -> ResponseReturnValue:
    log.error("%s %s: %s", request.method, request.path, error)
    if isinstance(error, StorageDamaged):
        g.person = None  # nobody is known any more
        with contextlib.suppress(cti.Unavailable):  # it starts the pages again, which then offer the restore of a backup
            desk().box.ask("supervisor", cti.ConfigurationSeen(str(error)))
    return render_template("error.html", title=t("problem.not-stored"), sentence=say(error.said)), 503


def _apologise(error: Exception) -> ResponseReturnValue:
    log.exception("%s %s failed", request.method, request.path)
    return render_template("error.html", title=t("problem.broke"), sentence=t("problem.broke-help")), 500
