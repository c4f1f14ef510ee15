"""The project's chores: ``nox`` runs lint, types, tests and conformance; ``nox -l`` lists all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

nox.options.sessions = [
    *("lint", "types", "docs", "tests", "conformance", "browser", "plugin", "jupyterhub_quick"),
]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.needs_version = ">=2024.4"

PLUGIN = "plugins/traefikhub-redis"
# Most tests wait for servers, so that two cores have room for three.
PYTEST = ("pytest", "-n", os.environ.get("TRAEFIKHUB_TEST_PROCESSES", "3"))

# The files that others' programs read, by the schema that check-jsonschema has of each.
FORMS = {
    "github-workflows": ".github/workflows/*.yml",
    "dependabot": ".github/dependabot.yml",
    "github-issue-forms": ".github/ISSUE_TEMPLATE/[!c]*.yml",
    "github-issue-config": ".github/ISSUE_TEMPLATE/config.yml",
    "readthedocs": ".readthedocs.yaml",
    "citation-file-format": "CITATION.cff",
}


@nox.session
def lint(session: nox.Session) -> None:
    """Style, likely mistakes, the layers of docs/architecture.md, the forms of what GitHub and
    others read; known vulnerabilities of what is depended on, where the list of them can be
    reached."""
    session.install("ruff==0.17.*", "import-linter==2.*", "bandit[toml]==1.*", "pip-audit==2.*")
    session.install("check-jsonschema>=0.33", "zizmor==1.*")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports", env={"PYTHONPATH": "src"})
    sources = ("src", f"{PLUGIN}/src")
    session.run("bandit", "-q", "-c", "pyproject.toml", "-r", *sources)
    for schema, files in FORMS.items():
        found = sorted(str(file) for file in Path().glob(files))
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *found)
    session.run("zizmor", "--offline", "-q", ".github")
    session.install(".[all]", f"./{PLUGIN}")
    session.run("python", "tools/audit.py")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, on everything that is Python here; the plug-in by its own settings."""
    session.install(
        "mypy==2.*",
        "exceptiongroup",
        "nox",
        "tomli",
        "types-psutil",
        "types-pyyaml",
        "types-requests",
        ".[test]",
    )
    session.run("mypy")
    session.install(f"./{PLUGIN}[test]")
    with session.chdir(PLUGIN):
        session.run("mypy")


def bring_servers(session: nox.Session, *others: str) -> None:
    """The wheels bring Traefik and etcd; the others are Debian packages. In CI nothing may lack."""
    in_ci = bool(os.environ.get("CI"))
    names = ("consul", "pebble", *others)
    if in_ci:
        required = ",".join(("toml-file", "etcd", *names))
        session.env.setdefault("TRAEFIKHUB_REQUIRE_STORES", required)
    for name in names:
        session.run("python", f"tools/fetch_{name}.py", success_codes=[0] if in_ci else [0, 1])


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and property tests, and everything that starts real processes."""
    session.install(".[test]")
    bring_servers(session, "haproxy", "nginx")
    apart = ("--ignore=tests/conformance", "--ignore=tests/browser")
    session.run(*PYTEST, *apart, *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """Every shipped store against its promises, on real servers; ``-- --store NAME`` for one."""
    session.install(".[test,all]")
    bring_servers(session)
    arguments = list(session.posargs)
    tests = "tests/conformance"
    if "--store" in arguments:
        at = arguments.index("--store")
        name = arguments[at + 1].replace("-", "_")
        tests = f"tests/conformance/test_{name}.py"
        del arguments[at : at + 2]
    session.run(*PYTEST, tests, *arguments)


@nox.session
def browser(session: nox.Session) -> None:
    """A Hub over https, and the dashboard, in Debian's chromium; screenshots are in
    ``build/browser/``."""
    in_ci = bool(os.environ.get("CI"))
    if in_ci:
        session.env.setdefault("TRAEFIKHUB_REQUIRE_BROWSER", "1")
        session.env.setdefault("TRAEFIKHUB_REQUIRE_STORES", "pebble")
    session.install(".[testing]", "jupyter-server", "pytest-timeout", "websocket-client>=1.7")
    for name in ("chromium", "pebble"):
        session.run("python", f"tools/fetch_{name}.py", success_codes=[0] if in_ci else [0, 1])
    session.run("pytest", "tests/browser", *session.posargs)


JUPYTERHUBS = [nox.param("6.*", id="6"), nox.param("5.*", id="5")]


def run_jupyterhub_suite(session: nox.Session, *arguments: str) -> None:
    """The tests are in JupyterHub's wheel; what points them here is in tests/jupyterhub_suite."""
    session.run("python", "-m", "jupyterhub_suite", *arguments, env={"PYTHONPATH": "tests"})


@nox.session
@nox.parametrize("version", JUPYTERHUBS)
def jupyterhub(session: nox.Session, version: str) -> None:
    """JupyterHub's own tests through this proxy; ``-- --store etcd``, ``-- test_pages``, …"""
    # nbclassic: some of their tests ask for its pages. The pytest-asyncio is what JupyterHub 6
    # asks for; JupyterHub 5 takes it, too.
    session.install(
        *(".[test]", f"jupyterhub=={version}", "nbclassic"),
        *("beautifulsoup4[html5lib]", "pytest-asyncio>=1.1,<2"),
    )
    run_jupyterhub_suite(session, *session.posargs)


@nox.session
@nox.parametrize("version", JUPYTERHUBS)
def jupyterhub_quick(session: nox.Session, version: str) -> None:
    """The part of ``jupyterhub`` with the most route changes; two minutes, no JupyterLab."""
    session.install(
        *(".[traefik]", f"jupyterhub=={version}", "pytest>=8.4", "pytest-timeout"),
        *("beautifulsoup4[html5lib]", "pytest-asyncio>=1.1,<2"),
    )
    run_jupyterhub_suite(session, "--quick", *session.posargs)


@nox.session
def compat(session: nox.Session) -> None:
    """Old and new versions of all that this runs with, and the table of docs/compatibility.md; half
    an hour. ``-- --list``, ``-- --only traefik-3.6.7``."""
    session.install("uv>=0.5", "pytest>=8.4")
    if "--list" not in session.posargs:
        bring_servers(session)
    session.run("python", "-m", "compat", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def faults(session: nox.Session) -> None:
    """Break things while users come and go: ``-- --minutes 60 --store etcd --seed 7``; without
    them, every fault once, in six minutes. Curves are in ``build/faults/``."""
    session.install(".[test]", "matplotlib>=3.8")
    bring_servers(session)
    plot = () if "--plot" in session.posargs else ("--plot", "build/faults/curves.svg")
    session.run(
        *("python", "-m", "faults", *plot, *session.posargs),
        env={"PYTHONPATH": "tests"},
        interrupt_timeout=60,  # after Ctrl-C, to end what runs
    )


@nox.session
def replicas(session: nox.Session) -> None:
    """The highly available example of docs/ha, everything in it restarted under traffic;
    ``-- --seconds 600 --sockets 50``. The report is in ``build/replicas/``."""
    session.install(".[test]")
    bring_servers(session, "haproxy")
    session.run(
        *("python", "-m", "replicas", *session.posargs),
        env={"PYTHONPATH": "tests"},
        interrupt_timeout=60,  # after Ctrl-C, to end what runs
    )


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation and follow its links, without a network; a warning is an error.
    ``-- --online`` asks the other sites that it links to as well; ``-- --pictures`` lets chromium
    take some of its pages, into ``build/docs/``."""
    session.install(".[docs,all]")
    arguments = [word for word in session.posargs if word not in ("--online", "--pictures")]
    build = ("sphinx-build", "-W", "--keep-going", *arguments)
    session.run(*build, "docs", "docs/_build/html")
    session.run("python", "tools/check_links.py", "docs/_build/html")
    if "--online" in session.posargs:
        session.run(*build, "-b", "linkcheck", "docs", "docs/_build/linkcheck")
    if "--pictures" in session.posargs:
        session.run("python", "tools/fetch_chromium.py")
        session.run("python", "tools/picture_docs.py", "docs/_build/html", "build/docs")


@nox.session
def build(session: nox.Session) -> None:
    """The archives for PyPI, in ``dist/``, of both packages: what is in them, that they come out
    the same a second time, and that a new environment can use them."""
    session.install("build==1.*", "hatchling>=1.27", "twine>=6.1", "tomli; python_version<'3.11'")
    session.run("python", "tools/versions.py")
    results = Path("dist").resolve()
    shutil.rmtree(results, ignore_errors=True)
    if shutil.which("git"):  # else hatchling has a moment of its own
        last = ("git", "log", "-1", "--format=%ct")
        moment = session.run(*last, external=True, silent=True, success_codes=[0, 128])
        if str(moment).strip().isdigit():
            session.env["SOURCE_DATE_EPOCH"] = str(moment).strip()
    frontend = ("python", "-m", "build", "--no-isolation")
    with tempfile.TemporaryDirectory(prefix="traefikhub-build-") as again:
        for project in (".", PLUGIN):
            # The first wheel is built from the source archive, the second from the tree.
            session.run(*frontend, "--outdir", str(results), project, silent=True)
            other = {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7"}
            rebuild = (*frontend, "--sdist", "--wheel", "--outdir", again, project)
            session.run(*rebuild, env=other, silent=True)
            session.run("python", "tools/archives.py", project, str(results), again)
    session.run("twine", "check", "--strict", *map(str, sorted(results.iterdir())))
    session.run("python", "tools/fresh_install.py", str(results))


@nox.session
def demo(session: nox.Session) -> None:
    """Run ``traefikhub demo``."""
    session.install(".[demo]")
    session.run("traefikhub", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure beside the alternatives, in one run; ``-- --quick`` for three minutes of it."""
    session.install(".[bench]")
    bring_servers(session)
    # The servers are started by the same code as in the tests.
    environment = {"PYTHONPATH": "tests"}
    session.run("python", "-m", "benchmarks._fetch", env=environment, success_codes=[0, 1])
    session.run(
        *("python", "-m", "benchmarks", *session.posargs),
        env=environment,
        interrupt_timeout=60,  # after Ctrl-C, to end servers and proxies
    )


@nox.session
def load(session: nox.Session) -> None:
    """2,000 users come and go for ten minutes on each store: nothing may fail, nothing may grow;
    ``-- --store etcd --users 500 --minutes 3 --seed 7``."""
    session.install(".[bench]")
    bring_servers(session)
    session.run(
        *("python", "-m", "benchmarks._load_run", *session.posargs),
        env={"PYTHONPATH": "tests"},
        interrupt_timeout=60,  # after Ctrl-C, to end what runs
    )


@nox.session
def plugin(session: nox.Session) -> None:
    """The redis plug-in as a third party has it: both wheels in a fresh environment, and its
    conformance tests there, away from this source tree; ``-- tests`` for all of its tests."""
    bring_redis(session)
    source = Path(PLUGIN).resolve()
    with tempfile.TemporaryDirectory(prefix="traefikhub-plugin-") as directory:
        wheels, elsewhere = Path(directory, "wheels"), Path(directory, "elsewhere")
        session.run("pip", "wheel", "-q", "--no-deps", "-w", str(wheels), ".", str(source))
        core, own = sorted(map(str, wheels.glob("*.whl")))
        # Not nox' own environment, which may be an old one: something left in it could hide what
        # a wheel lacks.
        session.run("python", "-m", "venv", f"{directory}/fresh")
        python = f"{directory}/fresh/bin/python"
        shutil.copytree(source / "tests", elsewhere / "tests")
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(source / name, elsewhere)
        show = "import traefikhub, traefikhub_redis as r; print(traefikhub.__file__, r.__file__)"
        session.env["PYTHONPATH"] = ""
        arguments = session.posargs or ["tests/test_conformance.py", "tests/test_hub.py"]
        with session.chdir(elsewhere):
            for command in (
                ("-m", "pip", "install", "-q", core, f"{own}[test]"),
                ("-c", show),
                ("-m", *PYTEST, "-p", "no:cacheprovider", *arguments),
            ):
                session.run(python, *command, external=True)


def bring_redis(session: nox.Session) -> None:
    """Redis, and its oldest version that will do; a wheel brings Valkey. In CI nothing may lack."""
    in_ci = bool(os.environ.get("CI"))
    if in_ci:
        # The wheel with Valkey is for Python 3.11 and later.
        valkey = [] if sys.version_info < (3, 11) else ["valkey"]
        required = ",".join(["redis", "redis-6.2", *valkey])
        session.env.setdefault("TRAEFIKHUB_REQUIRE_STORES", required)
    fetch = ("python", "tools/fetch_redis.py")
    found = session.run(*fetch, silent=True, success_codes=[0] if in_ci else [0, 1])
    for line in str(found).splitlines():
        variable, is_one, path = line.partition("_SERVER=")
        if is_one and f"{variable}_SERVER" not in os.environ:
            session.env[f"{variable}_SERVER"] = path
