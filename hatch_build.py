"""A build hook: the pages' front-end packages are fetched into the wheel, and never committed.

Without npm or a network the wheel is built without them; the chart page then says what to install.
"""

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Pages(BuildHookInterface[Any]):
    """Runs before the wheel is built. A checkout gets the packages by `make`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch; what could not be fetched is said, and is no failure."""
        if version == "editable":
            return
        folder = Path(self.root) / "plugins" / "flowd_pages"
        spec = importlib.util.spec_from_file_location("fetch", folder / "fetch.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.app.display_info(module.fetch(folder))
