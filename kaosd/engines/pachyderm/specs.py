"""The two pipelines of a notebook as Pachyderm takes them. Pure: the same order is the same spec, byte for byte.

Build turns the source's archive into an image; Host serves that image. Host does not follow Build's output but the
branch `deployed` of it, which kaosd moves together with Host's image: one restart, and none for a failed build.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from google.protobuf.duration_pb2 import Duration
from python_pachyderm.proto.v2.pfs import pfs_pb2
from python_pachyderm.proto.v2.pps import pps_pb2

from kaosd.engines.pachyderm.archive import ARCHIVE
from kaosd.engines.pachyderm.names import MANIFEST, names_of
from kaosd.engines.pachyderm.options import Options

NOTEBOOK, USER, SPEC, ORDER = "kaosd/notebook", "kaosd/user", "kaosd/spec", "kaosd/order"  # annotations
ENVIRONMENT = "environment"  # the branch of the source that Build follows: a save of code alone builds nothing
DEPLOYED = "deployed"  # the branch of Build's output that Host serves
META = "meta.json"  # what BuildKit says of the image
PORT = 8888  # inside of the pod
BUILD_WITHIN, TRY_WITHIN = 3600, 1800  # seconds
_STATE = "/home/user/.local/share/buildkit"  # of rootless BuildKit

_BUILD = f"""set -eu
source=$(readlink -f /pfs/source)
work=$(mktemp -d)
tar -xf "$source/{ARCHIVE}" -C "$work"
tag=$(sha256sum "$source/{ARCHIVE}" | cut -c1-16)
$KAOSD_BUILDCTL build --frontend dockerfile.v0 --local context="$work/context" --local dockerfile="$work" \\
  --local kaosd="$work/host" --opt context:kaosd=local:kaosd \\
  --output "type=image,name=$KAOSD_IMAGE:$tag,push=true$KAOSD_INSECURE" \\
  --export-cache "type=registry,ref=$KAOSD_IMAGE:buildcache,mode=max$KAOSD_INSECURE" \\
  --import-cache "type=registry,ref=$KAOSD_IMAGE:buildcache$KAOSD_INSECURE" \\
  --metadata-file "$work.json" --progress=plain </dev/null
cp "$work.json" /pfs/out/{META}
cp "$source/{MANIFEST}" /pfs/out/{MANIFEST}
rm -rf "$work" "$work.json"
"""
_POD = """python=$(command -v python3 || command -v python) ||
  { echo "JupyterLab ended with 127: the image has no Python"; exit 127; }
exec "$python" -u /kaosd/hosted/pod.py """


@dataclass(frozen=True, slots=True)
class HostOrder:
    """What is to be hosted; JSON values only. image: by digest; commit: of Build's output. secret: holds the token."""

    notebook: str
    user: str
    workspace: str
    image: str
    commit: str
    base_url: str
    secret: str
    cpu: float | None = None
    memory: str | None = None
    gpu: int = 0

    def told(self) -> str:
        """The order as the annotation of its pipeline says it, which tells one host from another."""
        return json.dumps(asdict(self), sort_keys=True)


def repo_mark(notebook: str, user: str) -> str:
    """The description by which a repo is known as kaosd's, for this notebook of this user."""
    return f"kaosd: notebook {notebook} of {user}"


def is_ours(annotations: Mapping[str, str], notebook: str, user: str) -> bool:
    """Whether a pipeline with these annotations is kaosd's, for this notebook of this user."""
    return (annotations.get(NOTEBOOK), annotations.get(USER)) == (notebook, user)


def build_request(notebook: str, user: str, project: str, options: Options) -> pps_pb2.CreatePipelineRequest:
    """The Build pipeline. It is idle without a pod of its own (autoscaling) until a source arrives."""
    names = names_of(notebook, project)
    remote = options.buildkit is not None
    env = {
        "KAOSD_BUILDCTL": "buildctl" if remote else "buildctl-daemonless.sh",
        "KAOSD_IMAGE": f"{options.registry}/{notebook.lower()}",
        "KAOSD_INSECURE": ",registry.insecure=true" if options.plain_registry else "",
        "BUILDKIT_HOST" if remote else "BUILDKITD_FLAGS": options.buildkit or "--oci-worker-no-process-sandbox",
    }
    secrets = []
    if options.registry_secret is not None:
        env["DOCKER_CONFIG"] = "/kaosd/registry"
        secrets = [pps_pb2.SecretMount(name=options.registry_secret, mount_path="/kaosd/registry")]
    request = pps_pb2.CreatePipelineRequest(
        pipeline=_pipeline(project, names.build),
        description=f"kaosd: makes the image of notebook {notebook}",
        transform=pps_pb2.Transform(image=options.builder_image, cmd=["sh", "-c", _BUILD], env=env, secrets=secrets),
        input=pps_pb2.Input(pfs=_pfs("source", project, names.source, ENVIRONMENT)),
        parallelism_spec=pps_pb2.ParallelismSpec(constant=1),
        autoscaling=True,
        datum_tries=1,
        job_timeout=Duration(seconds=BUILD_WITHIN),
        pod_patch="" if remote else _rootless(),
    )
    extra = {} if remote else {"container.apparmor.security.beta.kubernetes.io/user": "unconfined"}
    return _marked(request, {NOTEBOOK: notebook, USER: user, **extra})


def host_request(order: HostOrder, project: str, options: Options) -> pps_pb2.CreatePipelineRequest:
    """The Host pipeline: a service that runs JupyterLab in the notebook's image."""
    names = names_of(order.notebook, project)
    request = pps_pb2.CreatePipelineRequest(
        pipeline=_pipeline(project, names.host),
        description=f"kaosd: hosts notebook {order.notebook}",
        transform=pps_pb2.Transform(
            image=order.image,
            cmd=["sh", "-c", _POD],
            env=_host_env(order, names.data),
            secrets=[pps_pb2.SecretMount(name=order.secret, mount_path="/kaosd/token")],
            image_pull_secrets=list(options.pull_secrets),
        ),
        input=pps_pb2.Input(
            cross=[
                pps_pb2.Input(pfs=_pfs(names.data, project, names.data, "master")),
                pps_pb2.Input(pfs=_pfs("deployed", project, names.build, DEPLOYED)),
            ]
        ),
        service=pps_pb2.Service(internal_port=PORT, external_port=options.service_port, type=options.service_type),
        parallelism_spec=pps_pb2.ParallelismSpec(constant=1),
    )
    _limit(request, order)
    return _marked(request, {NOTEBOOK: order.notebook, USER: order.user, ORDER: order.told()})


def try_request(notebook: str, user: str, project: str, options: Options, image: str) -> pps_pb2.CreatePipelineRequest:
    """A pipeline that starts JupyterLab once in *image*, on the node of the host where that can be.

    So the image is there before the host is replaced, and one that cannot be used is found out while the old one
    serves.
    """
    names = names_of(notebook, project)
    request = pps_pb2.CreatePipelineRequest(
        pipeline=_pipeline(project, names.trial),
        description=f"kaosd: pulls and tries an image of notebook {notebook}",
        transform=pps_pb2.Transform(
            image=image, cmd=["sh", "-c", _POD + "try"], image_pull_secrets=list(options.pull_secrets)
        ),
        input=pps_pb2.Input(pfs=_pfs("built", project, names.build, "master")),
        parallelism_spec=pps_pb2.ParallelismSpec(constant=1),
        datum_tries=1,
        job_timeout=Duration(seconds=TRY_WITHIN),
        pod_patch=_beside(project, notebook),
    )
    request.resource_requests.cpu, request.resource_requests.memory = 0.1, "256Mi"
    return _marked(request, {NOTEBOOK: notebook, USER: user})


def _beside(project: str, notebook: str) -> str:
    """A patch of a pod that prefers the node of the host."""
    selector = {"matchLabels": {"pipelineProject": project, "pipelineName": notebook}}
    term = {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    affinity = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return json.dumps([{"op": "add", "path": "/affinity", "value": affinity}], sort_keys=True)


def order_in(annotations: Mapping[str, str]) -> HostOrder | None:
    """The order that a Host pipeline was made from; None when it does not tell one."""
    try:
        return HostOrder(**json.loads(annotations[ORDER]))
    except (KeyError, TypeError, ValueError):
        return None


def spec_hash(request: pps_pb2.CreatePipelineRequest) -> str:
    """What tells one spec from another, whoever sends it: an update that changes nothing would still restart all."""
    bare = pps_pb2.CreatePipelineRequest()
    bare.CopyFrom(request)
    bare.update = bare.reprocess = False
    bare.metadata.annotations.pop(SPEC, None)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def _marked(request: pps_pb2.CreatePipelineRequest, annotations: dict[str, str]) -> pps_pb2.CreatePipelineRequest:
    for key, value in annotations.items():
        request.metadata.annotations[key] = value
    request.metadata.annotations[SPEC] = spec_hash(request)
    return request


def _host_env(order: HostOrder, data: str) -> dict[str, str]:
    return {
        "KAOS_WORKSPACE": order.workspace,
        "KAOS_USER": order.user,
        "KAOS_NOTEBOOK": order.notebook,
        "DATA_REPO": data,
        "KAOS_DATA": f"/pfs/{data}",
        "KAOSD_BASE_URL": order.base_url,
        "KAOSD_LISTEN": f"0.0.0.0:{PORT}",
        "KAOSD_TOKEN_FILE": "/kaosd/token/token",
    }


def _limit(request: pps_pb2.CreatePipelineRequest, order: HostOrder) -> None:
    """Resources as requests and limits alike; GPUs as limits only, as Kubernetes wants them."""
    if order.cpu is not None:
        request.resource_requests.cpu = request.resource_limits.cpu = order.cpu
    if order.memory is not None:
        request.resource_requests.memory = request.resource_limits.memory = order.memory
    if order.gpu:
        request.resource_limits.gpu.CopyFrom(pps_pb2.GPUSpec(type="nvidia.com/gpu", number=order.gpu))


def _rootless() -> str:
    """What a BuildKit of its own needs of the pod: a user of its own, no seccomp, room for its layers."""
    context = {"runAsUser": 1000, "runAsGroup": 1000, "seccompProfile": {"type": "Unconfined"}}
    patch = [
        {"op": "add", "path": "/containers/0/securityContext", "value": context},
        {"op": "add", "path": "/volumes/-", "value": {"name": "kaosd-buildkit", "emptyDir": {}}},
        {
            "op": "add",
            "path": "/containers/0/volumeMounts/-",
            "value": {"name": "kaosd-buildkit", "mountPath": _STATE},
        },
    ]
    return json.dumps(patch, sort_keys=True)


def _pipeline(project: str, name: str) -> pps_pb2.Pipeline:
    return pps_pb2.Pipeline(project=pfs_pb2.Project(name=project), name=name)


def _pfs(name: str, project: str, repo: str, branch: str) -> pps_pb2.PFSInput:
    return pps_pb2.PFSInput(name=name, project=project, repo=repo, repo_type="user", branch=branch, glob="/")
