"""launch/kubernetes.sh among stand-ins: manifests, a loss, a failure."""

import signal

import pytest
import yaml

GPUS = ("--out", "gs://bucket/study", "--image", "registry/t5cr:1")
TPU = (*GPUS, "--no-build", "--nodes", "4", "--chips", "4", "--spot")
TPU += ("--accelerator", "tpu-v5-lite-podslice", "--topology", "4x4")
GPUS = (*GPUS, "--no-build", "--nodes", "2", "--gpus", "8")
STATE = "get jobset .*terminalState"


def ends(*states: str) -> tuple[str, list[dict]]:
  return (STATE, [{"out": state} for state in ("", *states)])


def pods(*lines: str) -> tuple[str, list[dict]]:
  return ("get pods .*job-completion-index", [{"out": x} for x in lines])


def manifest(cloud, *words: str) -> dict:
  """The first manifest that --dry-run shows."""
  status, said = cloud.run("kubernetes.sh", *words, "--dry-run")
  assert status == 0, said
  lines = said.split(".yaml:\n", 1)[1].split("\nkubectl", 1)[0].splitlines()
  return yaml.safe_load("\n".join(line.removeprefix("  ") for line in lines))


def pod(jobset: dict) -> dict:
  return job(jobset)["template"]["spec"]


def job(jobset: dict) -> dict:
  return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]


def test_a_manifest_for_gpus(cloud):
  found = manifest(cloud, "train", "redial_tags", *GPUS, "--restarts", "3")
  assert found["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
  assert found["metadata"]["name"] == "t5cr-train-redial-tags"
  assert job(found)["completions"] == job(found)["parallelism"] == 2
  (container,) = pod(found)["containers"]
  assert container["image"] == "registry/t5cr:1"
  assert container["imagePullPolicy"] == "Always"  # A tag is pushed again.
  assert container["resources"] == {"limits": {"nvidia.com/gpu": 8}}
  environment = {entry["name"]: entry for entry in container["env"]}
  name = "t5cr-train-redial-tags"
  address = f"{name}-workers-0-0.{name}:8476"
  assert environment["T5CR_COORDINATOR"]["value"] == address
  assert environment["T5CR_NUM_PROCESSES"]["value"] == "2"
  index = environment["T5CR_PROCESS_ID"]["valueFrom"]["fieldRef"]
  assert "job-completion-index" in index["fieldPath"]
  command = container["command"]
  assert command[4:7] == ["launch/job.sh", "train", "redial_tags"]


def test_a_manifest_for_a_slice(cloud):
  found = manifest(cloud, "train", "all", *TPU, "--service-account", "me")
  assert pod(found)["nodeSelector"] == {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
    "cloud.google.com/gke-tpu-topology": "4x4",
    "cloud.google.com/gke-spot": "true",
  }
  assert pod(found)["serviceAccountName"] == "me"
  (container,) = pod(found)["containers"]
  assert container["resources"] == {"limits": {"google.com/tpu": 4}}
  assert "env" not in container  # JAX asks GKE.
  assert "--multiprocess" in container["command"]
  (pool,) = found["metadata"]["annotations"].values()
  assert pool == "cloud.google.com/gke-nodepool"


def test_only_a_lost_node_starts_a_jobset_again(cloud):
  found = manifest(cloud, "train", "all", *GPUS, "--restarts", "3")
  policy = found["spec"]["failurePolicy"]
  assert policy["maxRestarts"] == 3
  lost, failed = policy["rules"]
  assert lost["action"] == "RestartJobSet"
  assert lost["onJobFailureReasons"] == ["PodFailurePolicy"]
  assert failed["action"] == "FailJobSet"
  (rule,) = job(found)["podFailurePolicy"]["rules"]
  assert rule["onPodConditions"] == [{"type": "DisruptionTarget"}]
  assert job(found)["backoffLimit"] == 0
  assert pod(found)["restartPolicy"] == "Never"


def test_data_takes_one_pod_without_accelerators(cloud):
  words = ("--out", "/out/study", "--volume", "claim", *GPUS[2:])
  found = manifest(cloud, "data", *words, "--corpus", "/out/it's raw")
  assert job(found)["completions"] == 1
  (container,) = pod(found)["containers"]
  assert "resources" not in container and "env" not in container
  assert container["volumeMounts"] == [{"name": "out", "mountPath": "/out"}]
  assert "/out/it's raw" in container["command"]
  (volume,) = pod(found)["volumes"]
  assert volume["persistentVolumeClaim"] == {"claimName": "claim"}


def test_the_whole_sequence(cloud):
  cloud.answers(
    ("git .* archive", [{"run": 'f=${line##*=}; echo . >"${f% HEAD}"'}]),
    ends("", "Completed"),
    pods("", "t5cr-0 Pending\n", "t5cr-0 Running\n", "t5cr-0 Succeeded\n"),
  )
  words = [word for word in GPUS if word != "--no-build"]
  status, said = cloud.run("kubernetes.sh", "train", "redial", *words)
  assert status == 0, said
  did = [
    " ".join(call.split()[:3])
    for call in cloud.calls("docker|kubectl (apply|logs|delete)")
  ]
  assert [line.partition(" --")[0] for line in did] == [
    *("docker build", "docker push registry/t5cr:1"),
    *("kubectl apply", "kubectl logs", "kubectl delete jobset"),
  ]
  assert "t5cr-train-redial: Completed" in said


def test_a_loss_in_the_middle_is_followed_too(cloud):
  """Kubernetes starts the pods again; their log is shown as the first was."""
  cloud.answers(
    ends("", "", "Completed"),
    pods(
      "t5cr-0 Running\n",
      "t5cr-0 Failed\nt5cr-1 Running\n",
      "t5cr-0 Failed\nt5cr-1 Succeeded\n",
    ),
    ("logs --follow", [{"out": "before\n", "status": 1}, {"out": "after\n"}]),
  )
  status, said = cloud.run("kubernetes.sh", "train", "redial", *TPU)
  assert status == 0, said
  assert said.index("before") < said.index("after")
  assert len(cloud.calls("apply")) == 1
  assert [c.split()[-1] for c in cloud.calls("logs --follow")] == [
    "t5cr-0",
    "t5cr-1",
  ]


def test_a_job_that_fails(cloud):
  cloud.answers(
    ends("Failed"),
    pods("t5cr-0 Failed\n"),
    ("exitCode", [{"out": "0 3"}]),
    ("logs --selector", [{"out": "the end of the log\n"}]),
  )
  status, said = cloud.run("kubernetes.sh", "eval", "redial", *TPU)
  assert status == 3
  assert "the end of the log" in said
  assert cloud.calls()[-1].startswith("kubectl delete jobset t5cr-eval-redial")


def test_an_image_that_cannot_be_built(cloud):
  cloud.answers(
    ("git .* archive", [{"run": 'f=${line##*=}; echo . >"${f% HEAD}"'}]),
    ("docker build", [{"status": 9}]),
  )
  words = [word for word in GPUS if word != "--no-build"]
  status, _ = cloud.run("kubernetes.sh", "train", "redial", *words)
  assert status == 9
  assert not cloud.calls("push|kubectl")


@pytest.mark.parametrize("keep", [False, True])
def test_interrupted(cloud, keep):
  cloud.answers(
    ends(""),
    pods("t5cr-0 Running\n"),
    ("logs --follow", [{"run": "sleep 100"}]),
  )
  status, said = cloud.interrupt(
    *("logs", signal.SIGINT, "kubernetes.sh", "train", "redial", *TPU),
    *(["--keep"] if keep else []),
  )
  assert status == 130
  assert ("JobSet t5cr-train-redial is left" in said) == keep
  assert bool(cloud.calls("delete jobset t5cr-train-redial")) != keep


def test_the_jobset_of_another_launch_is_left_alone(cloud):
  immutable = "spec.replicatedJobs: field is immutable\n"
  cloud.answers(("apply", [{"status": 1, "error": immutable}]))
  status, said = cloud.run("kubernetes.sh", "train", "redial", *TPU)
  assert status == 1
  assert "field is immutable" in said and "use another --name" in said
  assert not cloud.calls("delete")


REASONS = "get pods .*waiting.reason"


def test_it_tells_why_a_pod_waits(cloud):
  why = "t5cr-0  0/3 nodes are available\n"
  cloud.answers(
    ends("", "", "", "Completed"),
    pods("", "t5cr-0 Pending\n", "t5cr-0 Pending\n", "t5cr-0 Running\n"),
    (REASONS, [{}, {"out": why}]),
    ("get events", [{"out": 'serviceaccount "me" not found'}, {}]),
  )
  status, said = cloud.run("kubernetes.sh", "train", "redial", *TPU)
  assert status == 0, said
  assert 't5cr-train-redial waits: serviceaccount "me" not found' in said
  assert said.count("0/3 nodes are available") == 1


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_is_not_there_is_a_failure(cloud, reason):
  cloud.answers(
    ends(""),
    pods("t5cr-0 Pending\n"),
    (REASONS, [{"out": f"t5cr-0 {reason} \n"}]),
  )
  status, said = cloud.run("kubernetes.sh", "train", "redial", *TPU)
  assert status == 1
  assert f"waits: t5cr-0 {reason}" in said
  assert cloud.calls()[-1].startswith("kubectl delete jobset")


def test_an_image_that_comes_late_is_none(cloud):
  late = [{"out": "t5cr-0 ErrImagePull \n"}] * 4
  again = {"out": "t5cr-0 ContainerCreating \n"}
  cloud.answers(
    ends(*[""] * 9, "Completed"),
    pods(*["t5cr-0 Pending\n"] * 9, "t5cr-0 Succeeded\n"),
    (REASONS, [*late, again, *late]),
  )
  status, said = cloud.run("kubernetes.sh", "train", "redial", *TPU)
  assert status == 0, said


@pytest.mark.parametrize(("failed", "expected"), [(2, 0), (3, 1)])
def test_only_polls_in_a_row_that_fail_are_too_many(cloud, failed, expected):
  states = [{"status": 1}] * failed
  cloud.answers(
    (STATE, [{}, *states, {}, *states, {}, {"out": "Completed"}]),
    pods("t5cr-0 Running\n"),
  )
  status, said = cloud.run("kubernetes.sh", "train", "redial", *TPU)
  assert status == expected, said


def test_restarts_that_are_used_up(cloud):
  cloud.answers(
    ends("Failed"),
    pods("t5cr-0 Failed\n"),
    ("exitCode", [{"out": "143"}]),
    ("get jobset .*Failed.*reason", [{"out": "ReachedMaxRestarts"}]),
  )
  words = ("train", "redial", *TPU, "--restarts", "2")
  status, said = cloud.run("kubernetes.sh", *words)
  assert status == 75
  assert "taken away more than 2 times" in said
  assert len(cloud.calls("apply")) == 1
  assert cloud.calls()[-1].startswith("kubectl delete jobset")
