"""``traefikhub bench``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import click
from rich.progress import Progress
from traitlets import TraitError

from traefikhub.cli._bench_measure import FULL, QUICK, Phase
from traefikhub.cli._bench_run import Stopped, measure, until_told_to_stop
from traefikhub.cli._bench_screen import show_result
from traefikhub.cli._bench_values import Result
from traefikhub.cli._bench_verdict import summary, verdict
from traefikhub.cli._commands import HubCommand
from traefikhub.cli._hub import Hub, hub_options
from traefikhub.cli._scratch import NoPlace, NotRemoved
from traefikhub.cli._screen import progress_bar, show_json, tell
from traefikhub.proxy import TraefikProxy

__all__ = ["command"]


@click.command(cls=HubCommand, epilog="Example: traefikhub bench -f /srv/hub/jupyterhub_config.py")
@hub_options
@click.option(
    "--routes",
    type=click.IntRange(1, 10_000),
    multiple=True,
    default=(10, 1_000),
    metavar="N",
    help="Users' routes in the table; again for a further size. By default 10 and 1000.",
)
@click.option("--quick", is_flag=True, help="Try everything less often: within 15 s, not a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; all times are in seconds.")
def command(hub: Hub, routes: tuple[int, ...], quick: bool, as_json: bool) -> None:
    """Measure how soon a new route is live, with the hub's own store on this machine, and say what
    limits that.

    A Traefik and a proxy of their own are started beside the Hub's, on free ports of this machine,
    with routes in a scratch place of the same store: below PREFIX-scratch-… on its server, or in a
    directory beside the routes file. The Hub may run meanwhile; its routes are not touched, but
    all shares the machine. Everything is removed at the end, also after Ctrl-C, SIGTERM or SIGHUP.
    In the first seconds, while the configuration is read, these end it at once: nothing has been
    written or started by then.
    """
    proxy = hub.proxy()
    with progress_bar() as bar:
        result = _measured(proxy, hub, sorted(set(routes)), quick, partial(_phase, bar))
    findings = verdict(result)
    if as_json:
        told = {"summary": summary(result), "verdict": [each.as_json() for each in findings]}
        show_json(result.as_json() | told)
    else:
        show_result(result, findings)


def _measured(proxy: TraefikProxy, hub: Hub, sizes: list[int], quick: bool, phase: Phase) -> Result:
    store = proxy.store if isinstance(proxy.store, str) else proxy.store.__name__
    try:
        work = partial(
            measure,
            proxy.session_settings(),
            store,
            sizes,
            QUICK if quick else FULL,
            phase,
            host_routing=proxy.host_routing,
        )
        return asyncio.run(until_told_to_stop(work))
    except Stopped:
        tell("Stopped; everything that was written or started is removed.")
        raise click.Abort from None
    except (NoPlace, NotRemoved, OSError) as error:
        raise click.ClickException(str(error)) from error
    except (TraitError, ValueError) as error:
        raise click.ClickException(f"{hub.about}: {error}") from error


@contextmanager
def _phase(bar: Progress, what: str, steps: int) -> Iterator[Callable[[], None]]:
    task = bar.add_task(what, total=steps)
    try:
        yield partial(bar.advance, task)
    finally:
        bar.remove_task(task)
