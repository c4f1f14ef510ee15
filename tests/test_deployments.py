"""The files in docs/deploy, by schemas, by the programs that read them, and by what they say of
each other. What is started to serve is in test_deployments_live.py."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from certificates import write_certificate
from deploy_chart import chart_faults, values_faults
from deploy_compose import compose_faults
from deploy_configs import CONFIGS, config_of, option_faults, static_env
from deploy_kubernetes import kubernetes_faults
from deployments import DEPLOY, dockerfile_faults, documents_of, image_faults, images_of
from privilege_page import SYSTEMD
from servers import require
from traefikhub.cli._hub import Hub
from traefikhub.session import external_static
from traefikhub.traefik import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Documents = list[dict[str, Any]]

MANIFESTS = (
    "traefik.yaml",
    "etcd.yaml",
    "network-policies.yaml",
    "certificate.yaml",
    "ingress.yaml",
)


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def changed(text: str, old: str, new: str) -> str:
    """Broken in one place, which must be there."""
    assert old in text
    return text.replace(old, new)


def of_yaml(*names: str) -> Documents:
    return [each for name in names for each in yaml.safe_load_all(text_of(name))]


# --- images ------------------------------------------------------------------------------------


def test_every_image_has_a_tag_that_exists() -> None:
    values, compose = of_yaml("kubernetes/values.yaml", "compose/compose.yaml")
    everything = [documents_of(*MANIFESTS), values, compose]
    images = {*images_of(everything)}
    images |= {
        *re.findall(r'DockerSpawner.image = "(.*)"', text_of("compose/jupyterhub_config.py"))
    }
    assert len(images) >= 7
    assert not image_faults(images)


@pytest.mark.parametrize("image", ["traefik", "traefik:latest", "traefik:v3.77.15", "etcd:v3.5.33"])
def test_a_tag_that_nobody_looked_up_is_told(image: str) -> None:
    broken = changed(text_of("kubernetes/traefik.yaml"), "traefik:v3.7.15", image)
    assert image_faults(images_of([*yaml.safe_load_all(broken)]))


@pytest.mark.parametrize("name", ["compose/Dockerfile", "kubernetes/Dockerfile"])
def test_dockerfiles(name: str) -> None:
    text = text_of(name)
    assert not dockerfile_faults(text)
    for old, new in (
        ("FROM ", "FORM "),
        ("USER 1000", "USER root"),
        ("USER 1000", "USER jupyterhub"),
        (":", ":latest-"),
        ("--no-cache-dir ", ""),
    ):
        assert dockerfile_faults(changed(text, old, new)), (old, new)


# --- Kubernetes --------------------------------------------------------------------------------


def test_manifests_for_kubernetes() -> None:
    assert not kubernetes_faults(documents_of(*MANIFESTS))


BROKEN = {
    "a misspelt field": ("traefik.yaml", "replicas: 2", "replica: 2"),
    "a wrong type": ("traefik.yaml", "maxUnavailable: 1\n", "maxUnavailable: [1]\n"),
    "an old API": ("traefik.yaml", "policy/v1", "policy/v1beta1"),
    "a field in the wrong place": ("etcd.yaml", "serviceName: ", "subdomain: "),
    "a selector that misses its pods": (
        "traefik.yaml",
        "    metadata:\n      labels:\n        app.kubernetes.io/name: traefikhub-traefik",
        "    metadata:\n      labels:\n        app.kubernetes.io/name: traefik",
    ),
    "a Service without pods": (
        "traefik.yaml",
        "  selector: {app.kubernetes.io/name: traefikhub-traefik}\n  ports:\n    - {name: api",
        "  selector: {app.kubernetes.io/name: traefik}\n  ports:\n    - {name: api",
    ),
    "a port that no pod has": ("traefik.yaml", "targetPort: https", "targetPort: tls"),
    "a budget that lets all go": ("traefik.yaml", "maxUnavailable: 1\n", "maxUnavailable: 2\n"),
    "a ConfigMap that isn't there": (
        "traefik.yaml",
        "configMapRef: {name: traefikhub-",
        "configMapRef: {name: x-",
    ),
    "a Secret without that key": (
        "traefik.yaml",
        "traefikhub-etcd, key: traefik",
        "traefikhub-etcd, key: x",
    ),
    "a certificate of another name": (
        "certificate.yaml",
        "secretName: traefikhub-tls",
        "secretName: tls",
    ),
    "an issuer of another name": (
        "certificate.yaml",
        "issuerRef: {name: traefikhub",
        "issuerRef: {name: x",
    ),
    "an unknown key of cert-manager": ("certificate.yaml", "dnsNames", "dnsName"),
    "root": ("etcd.yaml", "runAsNonRoot: true", "runAsNonRoot: false"),
    "a writable file system": (
        "traefik.yaml",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
    ),
    "more rights": ("traefik.yaml", "drop: [ALL]", "drop: [NET_RAW]"),
    "a probe of no port": ("traefik.yaml", "path: /ready, port: ping", "path: /ready, port: pong"),
    "Services' variables": (
        "traefik.yaml",
        "enableServiceLinks: false",
        "enableServiceLinks: true",
    ),
    "too little time to drain": (
        "traefik.yaml",
        "terminationGracePeriodSeconds: 330",
        "terminationGracePeriodSeconds: 310",
    ),
    "another mount": ("traefik.yaml", "mountPath: /etc/traefik/tls", "mountPath: /tls"),
    "a certificate from elsewhere": (
        "traefik.yaml",
        "certFile: /etc/traefik/tls",
        "certFile: /etc/traefik",
    ),
    "an entry point of no port": ("traefik.yaml", 'PING_ADDRESS: ":8082"', 'PING_ADDRESS: ":8083"'),
    "a member too few": (
        "etcd.yaml",
        ",traefikhub-etcd-2=http://traefikhub-etcd-2.traefikhub-etcd:2380",
        "",
    ),
    "members without names": ("etcd.yaml", "clusterIP: None", "clusterIP: 10.0.0.1"),
    "a policy about nobody": ("network-policies.yaml", "name: traefikhub-etcd}", "name: etcd}"),
    "a policy for nobody": ("network-policies.yaml", "component: hub", "component: hob"),
    "a policy for another port": ("network-policies.yaml", "port: 8888", "port: 8889"),
    "an Ingress to no port": ("ingress.yaml", "port: {name: http}", "port: {name: web}"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_manifest_is_told(what: str) -> None:
    name, old, new = BROKEN[what]
    broken = changed(text_of(f"kubernetes/{name}"), old, new)
    others = documents_of(*(each for each in MANIFESTS if each != name))
    assert kubernetes_faults([*yaml.safe_load_all(broken), *others])


# --- the chart ---------------------------------------------------------------------------------


def all_values_faults(text: str) -> list[str]:
    values = yaml.safe_load(text)
    return chart_faults(values) or values_faults(values, documents_of(*MANIFESTS))


def test_values_for_the_chart() -> None:
    assert not all_values_faults(text_of("kubernetes/values.yaml"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  extraConfig:", "  extraConfigs:"),
        ("      allowedIngressPorts: []", "      allowedIngressPorts: https"),
        ("type: ClusterIP", "type: LoadBalancer"),
        ("http://traefik-api:8099", "http://traefik-public:8099"),
        ("http://traefik-api:8099", "http://traefik-api:8080"),
        ("traefikhub-etcd-2.traefikhub-etcd:2379", "traefikhub-etcd-3.traefikhub-etcd:2379"),
        ("traefikhub-etcd-2.traefikhub-etcd:2379", "traefikhub-etcd-2.etcd:2379"),
        ("traefikhub-etcd-2.traefikhub-etcd:2379", "traefikhub-etcd-2.traefikhub-etcd:2380"),
        ("name: traefikhub-etcd, key: hub", "name: traefikhub-etcd, key: Hub"),
        ('os.environ["ETCD_HUB_PASSWORD"]', 'os.environ["ETCD_PASSWORD"]'),
        ("port: 8099, protocol", "port: 8098, protocol"),
        ("app.kubernetes.io/name: traefikhub-traefik", "app: traefik"),
        ("ingress:\n  enabled: false", "ingress:\n  enabled: true"),
    ],
)
def test_broken_values_are_told(old: str, new: str) -> None:
    assert all_values_faults(changed(text_of("kubernetes/values.yaml"), old, new))


# --- docker compose ----------------------------------------------------------------------------


def all_compose_faults(**broken: str) -> list[str]:
    names = {
        "compose": "compose.yaml",
        "config": "jupyterhub_config.py",
        "haproxy": "haproxy.cfg",
        "example": "env.example",
    }
    texts = {key: broken.get(key) or text_of(f"compose/{name}") for key, name in names.items()}
    return compose_faults(yaml.safe_load(texts.pop("compose")), **texts)


def test_compose() -> None:
    assert not all_compose_faults()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("compose", "read_only:", "readonly:"),
        ("compose", "interval: 10s", "interval: [10]"),
        ("compose", "networks: [store]", "networks: [shop]"),
        ("compose", 'volumes: ["etcd-2:/data"]', 'volumes: ["etcd-4:/data"]'),
        ("compose", "depends_on: {etcd-3-volume", "depends_on: {etcd-4-volume"),
        ("compose", "secrets: [etcd_hub_password, ", "secrets: ["),
        ("compose", "env_file: [traefik.env]", "env_file: [traefik.environment]"),
        ("compose", "./haproxy.cfg:", "./haproxy.conf:"),
        ("compose", "stop_grace_period: 330s", "stop_grace_period: 60s"),
        ("compose", "aliases: [traefik-api]", "aliases: [traefik]"),
        ("compose", "networks: [front]", "networks: [users]"),
        ("compose", "172.30.10.0/24", "172.30.11.0/24"),
        ("compose", "${DOCKER_GID:", "${DOCKER_GROUP:"),
        ("compose", "traefik-2: *traefik", "traefik-3: *traefik"),
        ("compose", "no-new-privileges:true", "no-new-privileges:false"),
        ("config", '"etcd-3:2379"', '"etcd-4:2379"'),
        ("config", '"etcd-3:2379"', '"etcd-3:2380"'),
        ("config", "http://traefik-api:8099", "http://traefik:8099"),
        ("config", 'secret("crypt_key")', 'secret("key")'),
        ("config", "172.30.10.0/24", "172.30.0.0/16"),
        ("haproxy", "traefik-2:8000", "traefik-3:8000"),
        ("haproxy", "traefik-2:8000", "traefik-2:8080"),
        ("example", "ETCD_HUB_PASSWORD=", "HUB_PASSWORD="),
        ("example", "LOGIN_PASSWORD=", "LOGIN_PASSWORD=secret"),
    ],
)
def test_a_broken_compose_is_told(file: str, old: str, new: str) -> None:
    name = {"compose": "compose.yaml", "config": "jupyterhub_config.py"}.get(file)
    name = name or {"haproxy": "haproxy.cfg", "example": "env.example"}[file]
    assert all_compose_faults(**{file: changed(text_of(f"compose/{name}"), old, new)})


# --- the Hubs' configurations -------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_every_option_is_one(name: str, tmp_path: Path) -> None:
    assert not option_faults(config_of(name, tmp_path))


@pytest.mark.parametrize("name", ["kubernetes", "tljh"])
@pytest.mark.parametrize(
    "line",
    [
        "c.TraefikProxy.drain_second = 5",
        "c.TraefikProxy.run_dir = 7",
        "c.EtcdStore.endpoint = []",
        "c.TraefikProxi.store = 'etcd'",
        "c.JupyterHub.cleanup_server = False",
        "c.TraefikProxy.traefik_api_url = 'ftp://somewhere'",
    ],
)
def test_an_option_that_is_none_is_told(name: str, line: str, tmp_path: Path) -> None:
    config = config_of(name, tmp_path)
    with config.open("a") as file:
        file.write(f"\n{line}\n")
    assert option_faults(config)


def test_traefiks_configuration_in_compose_is_what_the_command_prints(tmp_path: Path) -> None:
    shipped = dict(
        line.split("=", 1) for line in text_of("compose/traefik.env").splitlines() if line[0] != "#"
    )
    compose = yaml.safe_load(text_of("compose/compose.yaml"))
    secret = compose["services"]["traefik-1"]["environment"].keys()
    agrees(shipped, static_env(config_of("compose", tmp_path)), secret)


def test_traefiks_configuration_in_kubernetes_is_what_the_command_prints(tmp_path: Path) -> None:
    maps = {
        each["metadata"]["name"]: each["data"]
        for each in documents_of("traefik.yaml")
        if each["kind"] == "ConfigMap"
    }
    secret = {"TRAEFIK_PROVIDERS_ETCD_PASSWORD"}
    agrees(maps["traefikhub-traefik"], static_env(config_of("kubernetes", tmp_path)), secret)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_is_laid_upon_tljhs_configuration_is_what_the_command_prints(
    scheme: str, tmp_path: Path
) -> None:
    file = config_of("tljh", tmp_path)
    entry_point = f"\nc.TraefikProxy.traefik_entrypoint = {scheme!r}\n"
    file.write_text(file.read_text() + entry_point)
    printed: Any = external_static(Hub(str(file), ()).settings(), Version(3, 7, 15))
    # What TLJH says itself, and what is for a load balancer.
    for each in ("api", "global", "log", "ping", "providers"):
        printed.pop(each, None)
    for point in printed["entryPoints"].values():
        del point["address"]
        point["transport"]["lifeCycle"].pop("requestAcceptGraceTimeout", None)
    assert tomllib.loads(text_of(f"tljh/traefikhub-{scheme}.toml")) == printed


def agrees(shipped: dict[str, str], printed: dict[str, str], secret: Any) -> None:
    masked = {name for name, value in printed.items() if value == "***"}
    assert masked == set(secret)
    assert shipped == {name: value for name, value in printed.items() if name not in masked}


# --- programs that check their own files --------------------------------------------------------


def haproxy_says(text: str, directory: Path) -> str:
    """What HAProxy has against a configuration; empty if nothing."""
    certificate, key = write_certificate(directory, 9)
    pem = directory / "hub.pem"
    pem.write_bytes(certificate.read_bytes() + key.read_bytes())
    file = directory / "haproxy.cfg"
    text = re.sub(r"crt \S+", f"crt {pem}", text)
    # The users are those of the machine or of the image.
    file.write_text(re.sub(r"^ +(user|group) haproxy\n", "", text, flags=re.M))
    fetched = Path(__file__).parents[1] / ".cache" / "haproxy" / "haproxy"
    found = shutil.which("haproxy") or (str(fetched) if fetched.exists() else None)
    program = require("haproxy", found, "python tools/fetch_haproxy.py")
    done = subprocess.run([program, "-c", "-f", str(file)], capture_output=True, text=True)
    # Docker's names aren't known here, nor need they be when it starts.
    told = [each for each in done.stderr.splitlines() if "could not resolve" not in each]
    return "\n".join(told) if done.returncode or "[WARNING]" in str(told) else ""


@pytest.mark.parametrize("name", ["compose", "three-machines"])
def test_haproxy_takes_its_configuration(name: str, tmp_path: Path) -> None:
    text = text_of(f"{name}/haproxy.cfg")
    assert not haproxy_says(text, tmp_path)
    for old, new in (
        ("balance leastconn", "balance leastcon"),
        ("default_backend traefik", "default_backend traffic"),
        ("timeout tunnel", "timeout tunel"),
        ("option httpchk GET /ready", "option httpcheck GET /ready"),
        ("    timeout client 1h\n", ""),
    ):
        assert haproxy_says(changed(text, old, new), tmp_path), (old, new)


UNITS: dict[str, tuple[Path | str, tuple[str, ...]]] = {
    "etcd": ("three-machines/etcd.service", ()),
    "jupyterhub": (SYSTEMD / "jupyterhub.service", ("three-machines/hub.conf",)),
    "traefik": (
        SYSTEMD / "traefik.service",
        ("three-machines/traefik.conf", "tljh/traefikhub.conf"),
    ),
}


def systemd_says(name: str, unit: str, additions: list[str], directory: Path) -> str:
    """What systemd has against a unit with drop-ins; empty if nothing."""
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("there is no systemd-analyze (systemd)")
    beside = directory / f"{name}.service.d"
    beside.mkdir(exist_ok=True)
    for number, text in enumerate(additions):
        (beside / f"{number}.conf").write_text(_with_a_program(text))
    file = directory / f"{name}.service"
    file.write_text(_with_a_program(unit))
    command = [analyze, "verify", "--man=no", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "Failed to initialize" in done.stderr or "unrecognized option" in done.stderr:
        pytest.skip(f"systemd-analyze can't look at files here: {done.stderr}")
    return done.stderr


def _with_a_program(text: str) -> str:
    """It looks whether the program is there."""
    return re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.M)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    unit, additions = UNITS[name]
    text = (DEPLOY / unit).read_text()
    more = [text_of(each) for each in additions]
    assert not systemd_says(name, text, more, tmp_path)
    assert systemd_says(name, changed(text, "UMask=", "Umaks="), more, tmp_path)
    for at, each in enumerate(more):
        broken = [*more]
        broken[at] = changed(each, "[Service]\n", "[Service]\nTimeoutStopsec=x\n")
        assert systemd_says(name, text, broken, tmp_path)


def test_the_three_members_of_etcd_are_those_of_the_unit() -> None:
    (cluster,) = re.findall(r"ETCD_INITIAL_CLUSTER=(.*)", text_of("three-machines/etcd.service"))
    members = dict(each.split("=") for each in cluster.split(","))
    config = text_of("three-machines/jupyterhub_config.py")
    for number in (1, 2, 3):
        text = text_of(f"three-machines/etcd-{number}.env")
        said = dict(line.split("=") for line in text.splitlines() if line.startswith("ETCD_"))
        assert members.pop(said["ETCD_NAME"]) == said["ETCD_INITIAL_ADVERTISE_PEER_URLS"]
        assert said["ETCD_LISTEN_PEER_URLS"] == said["ETCD_INITIAL_ADVERTISE_PEER_URLS"]
        client = said["ETCD_ADVERTISE_CLIENT_URLS"]
        assert client in said["ETCD_LISTEN_CLIENT_URLS"].split(",")
        assert f'"{client.removeprefix("http://")}"' in config
    assert not members


def test_haproxy_on_three_machines_asks_those_who_are_asked_by_the_hub() -> None:
    haproxy = re.findall(r"server \S+ (\S+):8000", text_of("three-machines/haproxy.cfg"))
    config = text_of("three-machines/jupyterhub_config.py")
    assert haproxy == re.findall(r'"http://([\d.]+):8099"', config)


# --- the pages ----------------------------------------------------------------------------------


PAGES = [DEPLOY.parent / "deploying.md", *sorted(DEPLOY.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_shell_takes_the_commands(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", text, re.M | re.S)
    assert blocks or page.stem == "deploying"
    for block in blocks:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_the_pages_name_the_versions_of_the_files() -> None:
    texts = {path.name: path.read_text() for path in [*PAGES, *DEPLOY.rglob("*.yaml")]}
    everything = "\n".join([*texts.values(), text_of("kubernetes/Dockerfile")])
    for pattern in (
        r"traefik:v([\d.]+)|--traefik-version ([\d.]+)|install traefik --version ([\d.]+)",
        r"coreos/etcd:v([\d.]+)|install etcd --version ([\d.]+)",
        r"k8s-hub:([\d.]+)|jupyterhub/jupyterhub --version ([\d.]+)|chart (\d+\.\d+\.\d+)",
    ):
        found = re.findall(pattern, everything)
        assert len(found) > 2
        assert len({"".join(each) for each in found}) == 1, found


def test_every_file_is_linked_and_every_link_leads_to_a_file() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", page.read_text(encoding="utf-8"))
    }
    assert not [each for each in linked if not each.exists()]
    files = {each for each in DEPLOY.rglob("*") if each.is_file() and each.suffix != ".md"}
    assert not files - linked
