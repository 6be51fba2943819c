"""What mkdocs calls while it builds the site: generated pages, included sections, and what must hold of the result."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from docs.generate import errors, include, links, models, notebooks, recipes  # noqa: E402

LOG = logging.getLogger("mkdocs.hooks.vitjax")


def on_files(files, config):
    """Add the pages that are made, and what included texts link to."""
    made = {"errors.md": errors.page(), "recipes.md": recipes.page(), "models.md": models.page(), **notebooks.pages()}
    for src, content in made.items():
        files.append(File.generated(config, src, content=content))
    linked = set[str]()
    for file in files.documentation_pages():
        linked |= include.expand(file.content_string, file.src_uri)[1]
    for path in sorted(linked):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Put included sections in their places."""
    return include.expand(markdown, page.file.src_uri)[0]


def on_post_build(config):
    """Hold that the site needs nothing from elsewhere and that its links lead somewhere; list those that leave it."""
    index = Path(config.site_dir, "search/search_index.json")  # a page that is read without a server can load scripts only
    index.with_suffix(".js").write_text(f"var __index = {index.read_text(encoding='utf-8')}", encoding="utf-8")
    found = links.check(Path(config.site_dir))
    for problem in found.problems:
        LOG.warning(problem)
    report = ROOT / "build/docs/external_links.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(sorted(found.external)) + "\n")
    LOG.info(f"{len(found.external)} links leave the site, and are not fetched: {report.relative_to(ROOT)}")
