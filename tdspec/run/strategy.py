"""How a run is spread over devices.

In: the spec's words for it. Out: a `tf.distribute.Strategy`; every variable must be made in its scope.
Leaves out: what several machines tell each other (`team.py`), and the loop that runs on it (`loop.py`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from tdspec.errors import RunError
from tdspec.graph.reasons import first_sentence
from tdspec.run.cluster import Cluster, read_cluster

CPU_REPLICAS = 2
# One waits for a replica's XLA program while another runs what it needs; with one each, replicas take turns.
THREADS_PER_REPLICA = 2
# TensorFlow reads it when it makes its CPUs.
OWN_THREADS = "TF_OVERRIDE_GLOBAL_THREADPOOL"


def make_strategy(name: str, replicas: int | Literal["auto"]) -> tf.distribute.Strategy:
    """Build a strategy by name.

    Args:
        name: a key of `STRATEGIES`.
        replicas: how many devices; "auto": every GPU, or two halves of the CPU where there is no GPU. Without meaning
            for "none" and "multi_worker", which takes every GPU of each machine, or its CPU as one.

    Raises:
        RunError: this machine, or TensorFlow as this process has set it up, has fewer devices; or TF_CONFIG does not
            say who the workers are.
    """
    return STRATEGIES[name](replicas)


def _none(replicas: int | Literal["auto"]) -> tf.distribute.Strategy:
    return tf.distribute.get_strategy()


def _mirrored(replicas: int | Literal["auto"]) -> tf.distribute.Strategy:
    num_gpus = len(tf.config.list_physical_devices("GPU"))
    if not num_gpus:
        return _mirrored_cpus(_logical_cpus(CPU_REPLICAS if replicas == "auto" else replicas))
    num_replicas = num_gpus if replicas == "auto" else replicas
    if num_replicas > num_gpus:
        raise RunError(
            f"train.replicas asks for {num_replicas} devices, this machine has {num_gpus} GPUs",
            f"write `replicas: {num_gpus}` or `replicas: auto`",
        )
    return _mirrored_gpus(tuple(f"GPU:{index}" for index in range(num_replicas)))


# TensorFlow numbers the collective operations of each MirroredStrategy from the same start, so that two strategies on
# the same devices take each other's tensors for their own: a process has one strategy for a set of devices. On CPUs
# the tensors are summed without collectives, no slower, which also leaves room for strategies made elsewhere.
@functools.cache
def _mirrored_gpus(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _mirrored_cpus(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())


def _multi_worker(replicas: int | Literal["auto"]) -> tf.distribute.Strategy:
    return _among(read_cluster(os.environ))


@functools.cache
def _among(cluster: Cluster) -> tf.distribute.Strategy:
    """Connects the workers: comes back when all of them are there."""
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        # TensorFlow fixes at the first operation with whom it can talk.
        hint = "make the strategy before anything else uses TensorFlow, once in a process"
        raise RunError(f"the workers cannot be connected: {first_sentence(error)}", hint) from error
    except tf.errors.OpError as error:
        hint = "do all of them run, at these addresses, each started once? Then start all of them again"
        raise RunError(f"the workers cannot be connected: {first_sentence(error)}", hint) from error


def _logical_cpus(num_replicas: int) -> tuple[str, ...]:
    """Names of `num_replicas` logical CPUs, made where the process does not have as many yet."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    configured = tf.config.get_logical_device_configuration(cpu)
    if configured is None or len(configured) < num_replicas:
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * num_replicas)
            if not tf.config.threading.get_inter_op_parallelism_threads():  # 0: nobody has said; TensorFlow's is a core
                threads = max(os.cpu_count() or 1, THREADS_PER_REPLICA * num_replicas)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
            _give_each_its_threads(num_replicas)
        except RuntimeError:
            # TensorFlow fixes its devices at the first operation, and offers no way to ask whether it has.
            raise RunError(
                f"train.replicas asks for {num_replicas} devices, but TensorFlow already runs in this process "
                f"with {len(tf.config.list_logical_devices('CPU'))}",
                "make the strategy before anything else uses TensorFlow, or write `strategy: none`",
            ) from None
    return tuple(f"CPU:{index}" for index in range(num_replicas))


def _give_each_its_threads(num_replicas: int) -> None:
    """Start TensorFlow's CPUs, each with threads of its own: in one pool for all, replicas wait for each other."""
    if not tf.config.threading.get_intra_op_parallelism_threads():  # 0: nobody has said
        tf.config.threading.set_intra_op_parallelism_threads(max(1, (os.cpu_count() or 1) // num_replicas))
    given = os.environ.get(OWN_THREADS)
    os.environ[OWN_THREADS] = "1"
    try:
        tf.config.list_logical_devices("CPU")
    finally:
        del os.environ[OWN_THREADS]
        if given is not None:
            os.environ[OWN_THREADS] = given


STRATEGIES: dict[str, Callable[[int | Literal["auto"]], tf.distribute.Strategy]] = {
    "none": _none,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
}
