"""The spec as frozen dataclasses, one for each object of the schema.

In: nothing. Out: `Spec`, what every later stage reads. A field has the key's name (`class` is `class_name`).
Leaves out: descriptions, bounds and defaults (the schema; a test joins the two), construction from YAML (`build.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tdspec.spec.model_data import Data as Data
from tdspec.spec.model_data import Splits as Splits
from tdspec.spec.model_data import TeacherCache as TeacherCache
from tdspec.spec.model_train import Optimizer as Optimizer
from tdspec.spec.model_train import Train as Train


@dataclass(frozen=True)
class Task:
    type: str
    label: str
    num_classes: int | Literal["auto"]


@dataclass(frozen=True)
class Feature:
    type: str
    size: int | None  # None for a number
    dim: int
    mean: float
    std: float


@dataclass(frozen=True)
class PresetWeights:
    preset: str


@dataclass(frozen=True)
class FileWeights:
    file: str


Weights = Literal["random", "own", "imagenet"] | PresetWeights | FileWeights


@dataclass(frozen=True)
class ClassBackbone:
    class_name: str
    config: Mapping[str, Any]
    weights: Weights
    batch_norm_epsilon: float | None


@dataclass(frozen=True)
class PresetBackbone:
    preset: str
    weights: Weights
    batch_norm_epsilon: float | None


@dataclass(frozen=True)
class ApplicationBackbone:
    application: str
    weights: Weights
    batch_norm_epsilon: float | None


@dataclass(frozen=True)
class FileBackbone:
    file: str
    weights: Weights
    batch_norm_epsilon: float | None


@dataclass(frozen=True)
class MlpBackbone:
    """Dense layers on `features`, or on the flattened image where there are none."""

    features: Mapping[str, Feature]
    units: tuple[int, ...]
    activation: str
    dropout: float
    weights: Weights


@dataclass(frozen=True)
class SpecBackbone:
    """The trained student of another spec; `spec` is an absolute path."""

    spec: str
    weights: Weights


Backbone = ClassBackbone | PresetBackbone | ApplicationBackbone | FileBackbone | MlpBackbone | SpecBackbone


@dataclass(frozen=True)
class Input:
    """How an image or a text becomes the model's input; `size` is (height, width), `length` counts tokens."""

    column: str
    size: tuple[int, int] | Literal["auto"]
    channels: int
    scale: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokenizer: str
    length: int | Literal["auto"]


@dataclass(frozen=True)
class Cut:
    low: int | str
    high: int | str


@dataclass(frozen=True)
class Head:
    pooling: str
    dropout: float
    bias: float


@dataclass(frozen=True)
class Teacher:
    backbone: Backbone
    input: Input
    cut: Cut | None
    head: Literal["none", "own", "probe"]
    class_map: tuple[int | tuple[int, ...], ...] | None
    expect: float | None


@dataclass(frozen=True)
class ListedTeacher(Teacher):
    name: str
    weight: float | Literal["learned"]


@dataclass(frozen=True)
class Student:
    backbone: Backbone
    input: Input
    cut: Cut | None
    head: Head | Literal["own"]


@dataclass(frozen=True)
class Message:
    dim: int
    positions: tuple[int, int] | Literal["auto", "vector"]


@dataclass(frozen=True)
class Encoder:
    type: str
    hidden_dim: int
    num_heads: int
    num_layers: int


@dataclass(frozen=True)
class Communication:
    message: Message
    encoder: Encoder
    iterations: int
    detach: tuple[str, ...]


@dataclass(frozen=True)
class TaskLoss:
    weight: float


@dataclass(frozen=True)
class PlainLoss(TaskLoss):
    schedule: str
    warmup: float


@dataclass(frozen=True)
class LogitLoss(PlainLoss):
    distance: str
    temperature: float


@dataclass(frozen=True)
class DistLoss(PlainLoss):
    temperature: float
    intra: float


@dataclass(frozen=True)
class NkdLoss(PlainLoss):
    temperature: float
    non_target: float


@dataclass(frozen=True)
class RelationalLoss(PlainLoss):
    distances: float
    angles: float


@dataclass(frozen=True)
class ManifoldLoss(PlainLoss):
    intra: float
    inter: float


@dataclass(frozen=True)
class StateLoss(PlainLoss):
    distance: str
    detach: str


@dataclass(frozen=True)
class InteractionLoss(StateLoss):
    """`iteration_weights` has one factor an iteration, or is empty."""

    iteration_weights: tuple[float, ...]


@dataclass(frozen=True)
class Losses:
    balance: str  # not a term
    task: TaskLoss
    logit: LogitLoss
    dist: DistLoss
    nkd: NkdLoss
    feature: StateLoss
    fitnet: StateLoss
    vkd: PlainLoss
    relational: RelationalLoss
    attention: PlainLoss
    manifold: ManifoldLoss
    interaction: InteractionLoss
    interpretation: StateLoss
    message_consistency: StateLoss
    state_consistency: StateLoss


@dataclass(frozen=True)
class Export:
    formats: tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """A whole spec; `teacher` is None where it names none (method scratch) or `teachers`, which then has several."""

    version: int
    name: str
    seed: int
    method: str
    data: Data
    task: Task
    teacher: Teacher | None
    teachers: tuple[ListedTeacher, ...]
    student: Student
    communication: Communication
    losses: Losses
    train: Train
    export: Export
