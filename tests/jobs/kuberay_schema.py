"""JSON schemas of KubeRay's kinds, from the fields that its API reference (1.6) documents. Unknown fields are errors.

Pod templates are left to kubernetes-validate.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECT: Schema = {"type": "object"}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _one_of(*values: str) -> Schema:
    return {"enum": list(values)}


_HEAD = _object(
    ["template"],
    serviceType=_one_of("ClusterIP", "NodePort", "LoadBalancer"),
    headService=OBJECT,
    enableIngress=FLAG,
    rayStartParams=TEXTS,
    resources=TEXTS,
    labels=TEXTS,
    template=OBJECT,
)
_WORKERS = _object(
    ["groupName", "template", "minReplicas", "maxReplicas"],
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    suspend=FLAG,
    rayStartParams=TEXTS,
    resources=TEXTS,
    labels=TEXTS,
    scaleStrategy=OBJECT,
    template=OBJECT,
)
_CLUSTER = _object(
    ["headGroupSpec"],
    rayVersion=TEXT,
    authOptions=_object([], mode=_one_of("disabled", "token"), secretName=TEXT, enableK8sTokenAuth=FLAG),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=_object(
        [],
        version=_one_of("v1", "v2"),
        idleTimeoutSeconds=COUNT,
        upscalingMode=_one_of("Default", "Aggressive", "Conservative"),
        image=TEXT,
        imagePullPolicy=TEXT,
        env={"type": "array"},
        envFrom={"type": "array"},
        resources=OBJECT,
        securityContext=OBJECT,
        volumeMounts={"type": "array"},
    ),
    gcsFaultToleranceOptions=OBJECT,
    managedBy=TEXT,
    suspend=FLAG,
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)
_JOB = _object(
    ["entrypoint", "rayClusterSpec"],
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=COUNT,
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    submissionMode=_one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    submitterPodTemplate=OBJECT,
    submitterConfig=_object([], backoffLimit=COUNT),
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT,
    metadata=TEXTS,
    clusterSelector=TEXTS,
    deletionStrategy=OBJECT,
    managedBy=TEXT,
    jobId=TEXT,
    suspend=FLAG,
    rayClusterSpec=_CLUSTER,
)


def _kind(kind: str, spec: Schema) -> Schema:
    metadata = _object([], name=TEXT, generateName=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    return _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=metadata | {"anyOf": [{"required": ["name"]}, {"required": ["generateName"]}]},
        spec=spec,
    )


SCHEMAS: dict[str, Schema] = {
    "RayJob": _kind("RayJob", _JOB),
    "RayCronJob": _kind(
        "RayCronJob", _object(["schedule", "jobTemplate"], schedule=TEXT, jobTemplate=_JOB, suspend=FLAG)
    ),
}
