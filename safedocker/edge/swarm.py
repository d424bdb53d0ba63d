"""The swarm that an engine belongs to: what a manager knows of it, and its configs out and in.

Asks the engine; what goes with what is loss/swarm.py's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from safedocker.edge import answers
from safedocker.edge.wire import Wire
from safedocker.errors import NoEngine, SafedockerError
from safedocker.loss.facts import Plugin, Service, Swarm, SwarmItem, SwarmState, Task

HISTORY = 5  # tasks a slot keeps where the swarm does not say: the engine's own default


def ask(wire: Wire) -> Swarm | None:
    """Say what this node's swarm holds, as far as it can; None outside of any swarm.

    Raise NoEngine when a manager gives no answer, as without a quorum.
    """
    info = answers.mapping(wire.json("GET", "/info", "say which swarm it is in"))
    told = answers.mapping(info.get("Swarm"))
    state = answers.text(told, "LocalNodeState")
    if state in {"", "inactive"}:
        return None
    node = answers.text(told, "NodeID")
    if state == "active" and told.get("ControlAvailable") is not True:
        return Swarm("", node, SwarmState.WORKER)
    if state != "active":
        return Swarm("", node, SwarmState.UNKNOWN)
    cluster = answers.mapping(told.get("Cluster"))
    spec = answers.mapping(answers.mapping(cluster.get("Spec")).get("Orchestration"))
    history = spec.get("TaskHistoryRetentionLimit")
    return Swarm(
        id=answers.text(cluster, "ID"),
        node=node,
        state=SwarmState.MANAGER,
        managers=sum(map(_answers, _listed(wire, "nodes"))),
        history=history if isinstance(history, int) else HISTORY,
        services=_services(wire, node, tasks := tuple(map(_task, _listed(wire, "tasks")))),
        tasks=tasks,
        secrets=tuple(map(_item, _listed(wire, "secrets"))),
        configs=tuple(map(_item, _listed(wire, "configs"))),
    )


def plugins(wire: Wire) -> tuple[Plugin, ...]:
    """Return the engine's plugins."""
    listed = wire.json("GET", "/plugins", "list its plugins")
    return tuple(
        Plugin(answers.text(one, "Id"), answers.text(one, "Name"), one.get("Enabled") is True)
        for one in map(answers.mapping, listed or ())
    )


def read_config(wire: Wire, id_: str) -> bytes | None:
    """Return a config, by its id or name, as a record: its name, labels, data and template driver.

    The same config gives the same bytes. None when there is none.
    """
    path = f"/configs/{quote(id_, safe='')}"
    found = wire.json("GET", path, f"give the config {id_}", allowed=(404,))
    if found is None:
        return None
    spec = answers.mapping(answers.mapping(found).get("Spec"))
    if id_ not in {answers.text(answers.mapping(found), "ID"), answers.text(spec, "Name")}:
        return None  # the beginning of another's id
    return _record(
        answers.text(spec, "Name"),
        answers.texts(spec, "Labels"),
        answers.text(spec, "Data"),
        answers.text(answers.mapping(spec.get("Templating")), "Name"),
    )


def create_config(wire: Wire, record: bytes) -> None:
    """Make a config of a record. Raise SafedockerError when the engine refuses."""
    body = json.loads(record)
    name = body["name"]
    wanted: dict[str, Any] = {"Name": name, "Labels": body["labels"], "Data": body["data"]}
    if body["template_driver"]:
        wanted["Templating"] = {"Name": body["template_driver"]}
    wire.call(
        "POST", "/configs/create", f"make the config {name}", body=wanted, kind=SafedockerError
    )


def _record(name: str, labels: Mapping[str, str], data: str, template_driver: str) -> bytes:
    body = {"name": name, "labels": labels, "data": data, "template_driver": template_driver}
    return json.dumps(body, indent=1, sort_keys=True).encode("ascii") + b"\n"


def _listed(wire: Wire, what: str) -> list[dict[str, Any]]:
    found = wire.json("GET", f"/{what}", f"list its {what}")
    return [one for one in found or () if isinstance(one, dict)]


def _answers(node: Mapping[str, Any]) -> bool:
    status = answers.mapping(node.get("ManagerStatus"))
    return answers.text(status, "Reachability") == "reachable"


def _item(found: Mapping[str, Any]) -> SwarmItem:
    spec = answers.mapping(found.get("Spec"))
    return SwarmItem(
        answers.text(found, "ID"), answers.text(spec, "Name"), answers.texts(spec, "Labels")
    )


def _task(found: Mapping[str, Any]) -> Task:
    status = answers.mapping(found.get("Status"))
    slot = found.get("Slot")
    return Task(
        id=answers.text(found, "ID"),
        service=answers.text(found, "ServiceID"),
        slot=slot if isinstance(slot, int) else 0,
        node=answers.text(found, "NodeID"),
        container=answers.text(answers.mapping(status.get("ContainerStatus")), "ContainerID"),
        state=answers.text(status, "State"),
        desired=answers.text(found, "DesiredState"),
        at=answers.seconds(answers.text(status, "Timestamp")),
    )


def _services(wire: Wire, node: str, tasks: Iterable[Task]) -> tuple[Service, ...]:
    """The services; of those with tasks on other nodes, where these have anonymous volumes."""
    elsewhere = {task.service for task in tasks if task.container and task.node != node}
    return tuple(
        replace(service, anonymous=_anonymous(wire, found)) if service.id in elsewhere else service
        for found in _listed(wire, "services")
        for service in (_service(found),)
    )


def _service(found: Mapping[str, Any]) -> Service:
    spec = answers.mapping(found.get("Spec"))
    template = answers.mapping(spec.get("TaskTemplate"))
    container = answers.mapping(template.get("ContainerSpec"))
    restart = answers.mapping(template.get("RestartPolicy"))
    attempts = restart.get("MaxAttempts")
    mode = answers.mapping(spec.get("Mode"))
    job = "ReplicatedJob" in mode or "GlobalJob" in mode
    credentials = answers.mapping(
        answers.mapping(container.get("Privileges")).get("CredentialSpec")
    )
    used = [answers.text(one, "ConfigID") for one in answers.mappings(container, "Configs")]
    return Service(
        id=answers.text(found, "ID"),
        name=answers.text(spec, "Name"),
        labels=answers.texts(spec, "Labels"),
        replicas=None if job else _replicas(spec),
        secrets=tuple(
            answers.text(one, "SecretID") for one in answers.mappings(container, "Secrets")
        ),
        configs=(*used, answers.text(credentials, "Config")),
        job=job,
        before=_replicas(answers.mapping(found.get("PreviousSpec"))),
        restart=answers.text(restart, "Condition") or "any",
        attempts=attempts if isinstance(attempts, int) else 0,
    )


def _replicas(spec: Mapping[str, Any]) -> int | None:
    found = answers.mapping(answers.mapping(spec.get("Mode")).get("Replicated")).get("Replicas")
    return found if isinstance(found, int) else None


def _anonymous(wire: Wire, found: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Where the tasks' containers have anonymous volumes; None where the image is not here."""
    template = answers.mapping(answers.mapping(found.get("Spec")).get("TaskTemplate"))
    container = answers.mapping(template.get("ContainerSpec"))
    mounts = answers.mappings(container, "Mounts")
    nameless = [
        answers.text(one, "Target")
        for one in mounts
        if answers.text(one, "Type") == "volume" and not answers.text(one, "Source")
    ]
    image = answers.text(container, "Image")
    path = f"/images/{quote(image, safe='/:@')}/json"
    try:
        told = wire.json("GET", path, "describe an image", allowed=(400, 404))
    except NoEngine:
        told = None
    if told is None:
        return tuple(nameless) or None
    declared = answers.mapping(answers.mapping(told).get("Config")).get("Volumes")
    covered = {answers.text(one, "Target") for one in mounts}
    return (*nameless, *(one for one in answers.mapping(declared) if one not in covered))
