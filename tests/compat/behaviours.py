"""Which tests run in a cell, by what they show. They are the project's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from compat.cells import Axis, Cell

__all__ = ["BEHAVIOURS", "ERROR_PAGES", "REFUSED", "Behaviour", "behaviours_of"]

ERROR_PAGES: Final = (3, 7, 0)
"""The first Traefik that has them."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What users or admins rely on.

    tests: names as pytest has them, below tests/.
    since: the first Traefik that has it.
    until: the first that no longer has it.
    axes: on which it is looked at; on all but etcd's if empty, which has its own.
    """

    name: str
    tests: tuple[str, ...]
    since: tuple[int, int, int] = (0, 0, 0)
    until: tuple[int, int, int] = (99, 0, 0)
    axes: tuple[Axis, ...] = ()


_HUB: Final = "test_end_to_end.py::test_a_users_day"
_CASE: Final = "test_traefik_knows_records_by_the_names_they_were_given"
_HTTPS: Final = "test_https.py::test_"
_KEPT: Final = (Axis.ALL, Axis.DEPENDENCIES, Axis.PYTHON)
_ETCD: Final = "conformance/test_etcd.py::TestEtcd::test_"

BEHAVIOURS: Final = (
    Behaviour(
        "A user's day: login, start, kernel by websocket, restart of the Hub, stop",
        (f"{_HUB}[toml-file]", f"{_HUB}[consul]"),
    ),
    Behaviour("The same, with routes in etcd", (f"{_HUB}[etcd]",), axes=tuple(Axis)),
    Behaviour(
        "Traefik is killed",
        ("test_supervision.py::test_a_traefik_that_ends_is_back_without_help",),
    ),
    Behaviour(
        "The Hub is killed, a websocket is open",
        ("test_hub_restart.py::test_the_websocket_of_a_user_outlives_the_hub[killed]",),
    ),
    Behaviour(
        "Error pages",
        (
            "test_end_to_end.py::test_a_server_that_was_killed",
            "test_error_pages.py::test_a_browser_gets_the_hubs_page",
            "test_error_pages.py::test_programs_get_a_line_of_text",
            "test_error_pages.py::test_jupyterlab_is_told_that_the_server_is_gone",
            "test_error_pages.py::test_the_page_is_the_same_on_every_store",
        ),
        since=ERROR_PAGES,
    ),
    Behaviour(
        "No error pages: told in the log, and nothing else lacks",
        ("compat/no_error_pages.py",),
        until=ERROR_PAGES,
    ),
    Behaviour(
        "Last activity",
        (
            "test_last_activity.py::test_a_route_is_as_old_as_its_last_request",
            "test_last_activity.py::test_an_open_websocket_is_use_though_nothing_is_said",
            "test_last_activity.py::test_a_restart_of_the_hub_forgets_nothing",
        ),
    ),
    Behaviour(
        "Encoded paths",
        (
            "test_names.py::test_every_name_in_every_encoding_reaches_its_own_server[tree]",
            "test_proxy.py::test_paths_arrive_as_they_were_sent",
            "test_requests.py::test_long_urls_and_big_headers",
        ),
    ),
    Behaviour("Deep trees of routers", ("test_routing.py::test_tree_and_list_serve_alike",)),
    Behaviour(
        "Priorities",
        (
            "test_facts.py::test_negative_priorities",
            "test_proxy.py::test_the_longest_prefix_wins",
        ),
    ),
    Behaviour(
        "Names that differ in case alone",
        (
            "test_proxy.py::test_names_that_differ_only_in_case_are_two",
            f"conformance/test_toml_file.py::TestTomlFile::{_CASE}",
            f"conformance/test_etcd.py::TestEtcd::{_CASE}",
            f"conformance/test_consul.py::TestConsul::{_CASE}",
        ),
    ),
    Behaviour(
        "https",
        (
            f"{_HTTPS}http_leads_to_https",
            f"{_HTTPS}a_renewed_certificate_is_shown_without_a_restart",
            f"{_HTTPS}intermediate_and_modern",
            f"{_HTTPS}http2_is_offered_and_websockets_pass",
            "test_external.py::test_an_api_over_https_is_believed_by_its_authority_only",
        ),
    ),
    Behaviour(
        "internal_ssl",
        ("test_internal_ssl.py::test_a_users_day_behind_internal_ssl[toml-file]",),
    ),
    Behaviour(
        "The command line",
        (
            "test_check.py::test_three_faults_and_what_mends_them",
            "test_routes_command.py",
        ),
        axes=(*_KEPT, Axis.JUPYTERHUB),
    ),
    Behaviour(
        "`traefikhub check` finds nothing to improve",
        ("test_check.py::test_a_good_hub",),
        since=ERROR_PAGES,
        axes=(*_KEPT, Axis.JUPYTERHUB, Axis.TRAEFIK),
    ),
    Behaviour("Unit tests", ("unit",), axes=(Axis.ALL, Axis.DEPENDENCIES)),
    Behaviour(
        "etcd: transactions, owners, user and TLS, outage",
        (
            f"{_ETCD}traefik_serves_what_was_applied",
            f"{_ETCD}traefik_knows_records_by_the_names_they_were_given",
            f"{_ETCD}readers_never_see_half_a_batch",
            f"{_ETCD}opening_takes_over",
            f"{_ETCD}a_take_over_in_the_middle_of_writing",
            f"{_ETCD}wrong_credentials_are_told",
            f"{_ETCD}ten_thousand_records",
            f"{_ETCD}a_server_killed_after_a_write_still_has_it",
            "test_etcd.py::test_down_and_up_again",
            "test_etcd.py::test_a_token_that_expires_is_renewed",
            "test_etcd.py::test_with_a_client_certificate",
            "test_etcd.py::test_not_intact_when_etcd_is_set_back",
            "test_etcd.py::test_traefik_with_user_and_tls",
            "test_etcd_cluster.py",
        ),
        axes=(Axis.ALL, Axis.ETCD, Axis.DEPENDENCIES),
    ),
)

REFUSED: Final = Behaviour("An old Traefik is refused", ("compat/refused.py",))


def behaviours_of(cell: Cell, traefik: tuple[int, int, int]) -> Iterator[Behaviour]:
    """What is looked at in a cell whose Traefik is of that version."""
    if cell.refused:
        yield REFUSED
        return
    for each in BEHAVIOURS:
        axes = each.axes or tuple(axis for axis in Axis if axis is not Axis.ETCD)
        if cell.axis in axes and each.since <= traefik < each.until:
            yield each
