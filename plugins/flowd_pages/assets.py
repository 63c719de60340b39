"""The files that pages load: read once, served by name, cached as long as their address can tell
them apart.
"""

import gzip
import hashlib
import json
import re
from pathlib import Path

from attrs import frozen
from quart import Request, Response

TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""What is served; a file of another kind is not."""

FOR_EVER = "public, max-age=31536000, immutable"
GZIP_MIN = 1000
"""Bytes below which a smaller file is not worth the unpacking."""


_COMMENTS = re.compile(r"^[ \t]*(?:/\*(?:(?!\*/).)*\*/|//[^\n]*)[ \t]*$", re.DOTALL | re.MULTILINE)
"""Those that have their lines for themselves."""


@frozen
class Asset:
    """One file, plain and gzipped, with the tag that tells its content from any other."""

    body: bytes
    packed: bytes | None
    tag: str
    content_type: str


def uncommented(text: str) -> str:
    """A module or style sheet of ours without the comments that have their lines for themselves,
    which are a third of it. The lines stay, empty, so that an error still names the right one.
    """
    return _COMMENTS.sub(lambda found: "\n" * found[0].count("\n"), text)


def read(path: Path, *, ours: bool = False) -> Asset:
    """A file as it is served. Ours are without comments, but for the clients, which others use."""
    body = path.read_bytes()
    if ours and path.suffix in (".js", ".css") and not path.name.startswith("flowd-"):
        body = uncommented(body.decode()).encode()
    tag = hashlib.sha256(body).hexdigest()[:20]
    packed = gzip.compress(body, 9, mtime=0) if len(body) >= GZIP_MIN else None
    return Asset(body, packed, tag, TYPES[path.suffix])


class Assets:
    """All files of the pages, by their address below `/assets/`.

    Our own are at `NAME`, and for ever at `DIGEST/NAME`: the digest is of all of them together, so
    that modules which import each other never mix two versions. Third parties' are at
    `vendor/PACKAGE-VERSION/NAME`.
    """

    def __init__(self, static: Path, vendor: Path) -> None:
        self._files = {
            path.relative_to(static).as_posix(): read(path, ours=True)
            for path in sorted(static.rglob("*"))
            if path.is_file() and path.suffix in TYPES
        }
        together = "".join(f"{name} {asset.tag}\n" for name, asset in self._files.items())
        self._digest = hashlib.sha256(together.encode()).hexdigest()[:16]
        vendored = {
            f"vendor/{path.relative_to(vendor).as_posix()}": read(path)
            for path in sorted(vendor.rglob("*"))
            if path.is_file() and path.suffix in TYPES
        }
        self._files |= vendored
        self.base = f"/assets/{self._digest}"
        """Where pages find our own files."""
        self.charts = _address(vendored, "lightweight-charts.js")
        """Where the chart library is, None when it is not installed."""
        self.licence = _address(vendored, "LICENSE.txt")
        self.notices: list[dict[str, str]] = []
        """Whose code that is: name, version, license, homepage."""
        if self.charts is not None:
            self.notices = json.loads((vendor / "notices.json").read_text(encoding="utf-8"))

    def answer(self, name: str, request: Request) -> Response:
        """The file of this name, not modified, or not found. A name is looked up, never opened."""
        digest, _, rest = name.partition("/")
        ours = digest == self._digest
        # A page of the version before may ask for its files once more: it gets today's.
        found = self._files.get(name) or self._files.get(rest if len(digest) == 16 else "")
        if found is None:
            return Response("no such file\n", 404, content_type="text/plain; charset=utf-8")
        lasting = ours or name.startswith("vendor/")
        gzipped = found.packed is not None and request.accept_encodings["gzip"] > 0
        headers = {
            "Cache-Control": FOR_EVER if lasting else "no-cache",
            "ETag": f'"{found.tag}{"-gzip" if gzipped else ""}"',
            "Vary": "Accept-Encoding",
        }
        # Each encoding has a tag of its own, and either says that the content is the same.
        if found.tag in {tag.removesuffix("-gzip") for tag in request.if_none_match.as_set(True)}:
            return Response(b"", 304, headers)
        if gzipped:
            headers["Content-Encoding"] = "gzip"
        return Response(
            found.packed if gzipped else found.body,
            200,
            headers,
            content_type=found.content_type,
        )


def page(html: str, status: int, request: Request) -> Response:
    """A page, gzipped for who accepts that."""
    headers = {"Vary": "Accept-Encoding"}
    body = html.encode()
    if request.accept_encodings["gzip"] > 0:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, 6, mtime=0)
    return Response(body, status, headers, content_type="text/html; charset=utf-8")


def _address(files: dict[str, Asset], ending: str) -> str | None:
    return next((f"/assets/{name}" for name in files if name.endswith(f"/{ending}")), None)
