"""``python -m jupyterhub_suite [arguments of pytest]``: the suite, or the files named as arguments,
e.g. ``test_proxy`` or ``test_proxy.py::test_check_routes``. With ``--ssl``, every Hub has
``internal_ssl`` on."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

__all__ = ["MODULES", "QUICK", "WITH_SSL"]

_ABOUT_SSL: Final = (
    *("test_internal_ssl_connections", "test_internal_ssl_connections_external_authorities"),
)
"""Their Hubs have ``internal_ssl`` on, with ``--ssl`` or without."""

WITH_SSL: Final = (
    *("test_proxy", "test_named_servers", "test_services", "test_singleuser"),
    *("test_pages", "test_api"),
)
"""The tests in which a request passes the proxy, but those that turn ``internal_ssl`` off."""

MODULES: Final = (*WITH_SSL, "test_services_auth", *_ABOUT_SSL)
"""The tests in which a request passes the proxy."""

QUICK: Final = (
    *("test_proxy", "test_named_servers", "test_services"),
    *("test_api.py::test_spawn", "test_api.py::test_progress", "test_api.py::test_get_proxy"),
    *_ABOUT_SSL,
)
"""What adds and deletes routes most; ``test_progress`` is a stream of events."""


def main(arguments: list[str]) -> int:
    """Run pytest; its exit code."""
    spec = find_spec("jupyterhub")
    if spec is None or spec.origin is None:
        sys.exit("jupyterhub is not installed")
    tests = Path(spec.origin).parent / "tests"
    chosen = [argument for argument in arguments if argument.startswith("test_")]
    options = [argument for argument in arguments if argument not in chosen]
    if "--quick" in options:
        options.remove("--quick")
        chosen += QUICK
    if "--ssl" in options:
        options.remove("--ssl")
        os.environ["SSL_ENABLED"] = "1"  # which JupyterHub's tests look at
        chosen = chosen or [*WITH_SSL]
    return pytest.main(
        [
            *("-c", str(Path(__file__).with_name("pytest.ini"))),
            f"--rootdir={tests}",  # so that names of tests begin with their file
            *("-p", "jupyterhub_suite.plugin"),
            *options,
            *(str(tests / _with_suffix(name)) for name in chosen or MODULES),
        ]
    )


def _with_suffix(name: str) -> str:
    module, separator, test = name.partition("::")
    return f"{module.removesuffix('.py')}.py{separator}{test}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
