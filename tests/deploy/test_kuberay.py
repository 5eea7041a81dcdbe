"""The KubeRay manifests: their fields, and pods that Kubernetes' own model accepts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from deploy_files import load
from kubernetes.client import models

WHOLE = {"type": "integer", "minimum": 0}
POD = {
    "type": "object",
    "required": ["spec"],
    "additionalProperties": False,
    "properties": {"spec": {"type": "object"}},
}
PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}


def closed(required: str, **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "required": required.split(),
        "additionalProperties": False,
        "properties": properties,
    }


CLUSTER = closed(
    "rayVersion authOptions enableInTreeAutoscaling headGroupSpec workerGroupSpecs",
    rayVersion={"type": "string"},
    authOptions=closed("mode secretName", mode={"const": "token"}, secretName={"type": "string"}),
    enableInTreeAutoscaling={"const": True},
    autoscalerOptions=closed("version", version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=WHOLE),
    headGroupSpec=closed("rayStartParams template", rayStartParams=PARAMETERS, template=POD),
    workerGroupSpecs={
        "type": "array",
        "minItems": 1,
        "items": closed(
            "groupName minReplicas maxReplicas rayStartParams template",
            groupName={"type": "string", "pattern": "^[a-z0-9-]+$"},
            replicas=WHOLE,
            minReplicas=WHOLE,
            maxReplicas=WHOLE,
            rayStartParams=PARAMETERS,
            template=POD,
        ),
    },
)
"""The fields we use of RayClusterSpec and RayJobSpec, after KubeRay's API reference (ray.io/v1, KubeRay 1.6).

The operator's own definition is one of Kubernetes' 10,000-line files; pods, which most of it describes, are checked
against the Kubernetes client below.
"""
JOB = closed(
    "entrypoint rayClusterSpec",
    entrypoint={"type": "string"},
    backoffLimit=WHOLE,
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=WHOLE,
    rayClusterSpec=CLUSTER,
)


def manifest(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return closed(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=closed("name", name={"type": "string", "pattern": "^[a-z0-9-]{1,47}$"}),
        spec=spec,
    )


@pytest.fixture
def cluster() -> Any:
    return load("kuberay/raycluster.yaml")


@pytest.fixture
def job() -> Any:
    return load("kuberay/rayjob.yaml")


def pods(cluster: Any) -> list[Any]:
    """The pod specs of a RayClusterSpec: the head's, then each worker group's."""
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def not_kubernetes(value: Any, of: str, at: str = "") -> Iterator[str]:
    """Yield what the Kubernetes client's model of type `of` does not have, or has with another type, and where."""
    if of.startswith("list["):
        if not isinstance(value, list):
            yield f"{at}: not a list"
            return
        for k, item in enumerate(value):
            yield from not_kubernetes(item, of[5:-1], f"{at}[{k}]")
    elif match := re.fullmatch(r"dict[(\[]str, (\w+)[)\]]", of):
        for name, item in value.items():
            yield from not_kubernetes(item, match[1], f"{at}.{name}")
    elif hasattr(models, of):
        model = getattr(models, of)
        fields = {model.attribute_map[name]: (name, kind) for name, kind in model.openapi_types.items()}
        for name in value.keys() - fields.keys():
            yield f"{at}.{name}: {of} has no such field"
        model(**{fields[name][0]: item for name, item in value.items() if name in fields})  # all that it requires
        for name in value.keys() & fields.keys():
            yield from not_kubernetes(value[name], fields[name][1], f"{at}.{name}")
    elif not isinstance(value, {"str": str, "int": int, "bool": bool, "object": object}[of]):
        yield f"{at}: {value!r} is no {of}"


def test_the_cluster_has_fields_that_kuberay_knows(cluster: Any) -> None:
    jsonschema.validate(cluster, manifest("RayCluster", CLUSTER))


def test_the_job_has_fields_that_kuberay_knows(job: Any) -> None:
    jsonschema.validate(job, manifest("RayJob", JOB))


def test_the_job_brings_up_the_same_cluster(cluster: Any, job: Any) -> None:
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


def test_every_pod_is_one_that_kubernetes_accepts(cluster: Any) -> None:
    for pod in pods(cluster["spec"]):
        assert list(not_kubernetes(pod, "V1PodSpec")) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"tolerationz": []}, ".tolerationz: V1PodSpec has no such field"),
        ({"restartPolicy": 1}, ".restartPolicy: 1 is no str"),
        ({"tolerations": [{"kye": "spot"}]}, ".tolerations[0].kye: V1Toleration has no such field"),
    ],
)
def test_a_slip_in_a_pod_is_found(change: dict[str, Any], complaint: str, cluster: Any) -> None:
    assert list(not_kubernetes({**pods(cluster["spec"])[0], **change}, "V1PodSpec")) == [complaint]


def test_the_service_account_is_the_pods(cluster: Any) -> None:
    account = load("kuberay/service-account.yaml")
    assert list(not_kubernetes(account, "V1ServiceAccount")) == []
    assert {pod["serviceAccountName"] for pod in pods(cluster["spec"])} == {account["metadata"]["name"]}


def test_workers_cost_nothing_while_idle_and_live_on_spot_nodes(cluster: Any) -> None:
    for group in cluster["spec"]["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
        assert "spot" in {toleration["key"] for toleration in group["template"]["spec"]["tolerations"]}
    assert "tolerations" not in pods(cluster["spec"])[0]  # the head keeps to nodes that stay


def test_a_worker_that_is_taken_away_leaves_first(cluster: Any) -> None:
    for pod in pods(cluster["spec"])[1:]:
        (container,) = pod["containers"]
        assert container["lifecycle"]["preStop"]["exec"]["command"] == [
            "python",
            "-m",
            "grok_sweeps.cluster.leave_node",
        ]
        assert pod["terminationGracePeriodSeconds"] >= 60


def test_pods_run_as_the_images_user_without_rights(cluster: Any) -> None:
    for pod in pods(cluster["spec"]):
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert requests == limits  # what Ray believes a node has is what it may use
