"""The static configuration with the admin's part, and what it costs."""

from __future__ import annotations

import pytest
import tomli_w

from traefikhub.session._static import as_toml, why_blind, with_extra
from traefikhub.stores import Document
from traefikhub.traefik import TraefikUnusable

OURS: Document = {
    "entryPoints": {"http": {"address": ":8000"}},
    "metrics": {"prometheus": {"addServicesLabels": True, "manualRouting": True}},
}


def test_the_admins_part_comes_last() -> None:
    extra = {"entryPoints": {"http": {"address": ":80"}, "ssh": {"address": ":22"}}}
    merged = with_extra(OURS, extra)
    assert isinstance(merged, dict)
    assert merged["entryPoints"] == {"http": {"address": ":80"}, "ssh": {"address": ":22"}}


@pytest.mark.parametrize(
    ("extra", "manual"),
    [
        ({}, True),
        ({"metrics": {"prometheus": {"buckets": [1.0]}}}, True),
        ({"metrics": {"prometheus": {"entryPoint": "metrics"}}}, False),
        ({"metrics": {"prometheus": {"entryPoint": "m", "manualRouting": True}}}, True),
    ],
)
def test_metrics_on_an_entry_point_of_the_admins_are_there(
    extra: dict[str, Document], manual: bool
) -> None:
    match with_extra(OURS, extra):
        case {"metrics": {"prometheus": {"manualRouting": is_manual}}}:
            assert is_manual is manual
        case other:
            pytest.fail(str(other))


@pytest.mark.parametrize(
    ("extra", "env", "why"),
    [
        ({}, {}, ""),
        ({}, {"HTTP_PROXY": ""}, ""),
        ({}, {"http_proxy": "http://proxy:3128"}, "http_proxy"),
        ({}, {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.0/8"}, "HTTPS_PROXY"),
        ({}, {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, ""),
        ({"metrics": {"prometheus": {"addServicesLabels": False}}}, {}, "addServicesLabels"),
        (
            {"entryPoints": {"http": {"observability": {"metrics": False}}}},
            {},
            "entryPoints.http.observability.metrics",
        ),
        ({"entryPoints": {"other": {"observability": {"metrics": False}}}}, {}, ""),
    ],
)
def test_what_makes_activity_unknowable(
    extra: dict[str, Document], env: dict[str, str], why: str
) -> None:
    found = why_blind(with_extra(OURS, extra), "http", env)
    assert why in found
    assert bool(found) == bool(why)


def test_what_toml_cannot_say_is_named() -> None:
    assert as_toml(OURS) == tomli_w.dumps(OURS)  # type: ignore[arg-type]
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.extra_static_config"):
        as_toml({"log": {"level": None}})
