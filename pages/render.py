"""The page's files put together: a template, the style, the script and Vega's, in one HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pages.charts import Chart

HERE = Path(__file__).parent


def render(template: str, context: dict[str, Any], charts: dict[str, Chart], pictures: Sequence[str] = ()) -> str:
    """Return a page.

    Args:
        template: its file's name.
        context: what it shows; all texts are escaped.
        charts: by name.
        pictures: base64 of each.
    """
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(
        **context,
        charts={name: chart.to_dict(validate=False) for name, chart in charts.items()},
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        vega=Markup(_vega().replace("</script", r"<\/script")),
        pictures=pictures,
    )


def _vega() -> str:
    """Return the script that draws charts in a browser, as ``window.vegaEmbed``."""
    script: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub forgets that the argument has a default
    return script
