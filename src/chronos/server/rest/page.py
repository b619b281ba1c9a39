"""The page at `/`: three static files and the API's description, read once."""

from __future__ import annotations

from importlib.resources import files

from chronos.plugin import Call, Endpoint, Reply

PUBLIC = "public"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}


def endpoints() -> list[Endpoint]:
    """Return the routes of the static files. Anybody may load them: they hold no data, and ask for a key to get it."""
    return [_static(path, name, kind) for path, (name, kind) in FILES.items()]


def _static(path: str, name: str, content_type: str) -> Endpoint:
    content = (files("chronos.server") / "static" / name).read_bytes()

    async def serve(_: Call) -> Reply:
        return Reply(text=content, content_type=content_type, headers={"Cache-Control": "no-cache"})

    return Endpoint(
        "GET",
        path,
        serve,
        PUBLIC,
        f"The page at `/`: {name}.",
        content_type=content_type,
        tag="page",
        operation=f"page_{name.partition('.')[0]}_{name.partition('.')[2]}",
    )
