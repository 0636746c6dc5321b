"""How a page is made: its template, and what it may load and send."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

TEMPLATES = Path(__file__).parent / "templates"
# The pages load nothing from anywhere; a mail may show inline styles and embedded images only.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it a browser sends a form of ours with `Origin: null`.
    "Referrer-Policy": "same-origin",
}
_TEMPLATES = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
)


def render_page(template: str, *, status: int = 200, **context: Any) -> Response:
    """The rendered template; `here` in the context names the tab that is current."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(context), status, HEADERS)
