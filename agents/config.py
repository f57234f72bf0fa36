"""Agent configurations: YAML files in `configs/agents/`, read strictly, with stable-baselines3's names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast, get_args

from pydantic import Field

from dvfo_env.errors import ConfigError
from dvfo_env.scenario import configs_folder
from dvfo_env.schema import Record, parse_record, read_yaml

AGENT_FOLDER = "agents"

Positive = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Part = Literal["cut", "mapping", "cpu_mhz", "gpu_mhz", "mem_mhz", "compression"]
Layers = Annotated[tuple[Count, ...], Field(min_length=1)]


class LearnerConfig(Record):
    """What all learners share.

    `learning_rate` falls linearly over the run to `learning_rate * final_learning_rate_share`. `cost_knee`:
    the learner sees costs above it on a logarithmic scale (`training_env.compress`); logs and scores never
    do. `minutes` is the budget when the command line gives none.
    `checkpoint_s`: seconds between checkpoints. `name` is what tables call the agent where its algorithm does
    not say enough.

    `history`: the observations of the last so many requests are stacked, newest first. `acts_on`: the parts
    of the action it decides on (default all); the rest stays as out of the box. `domain_randomisation`: train
    on devices whose latency, power, round-trip and server times differ from the model by up to this share;
    `other_uplinks`: this share of the environments is on an uplink of another order of magnitude, so that the
    policy has seen those too; see `fleet`.

    Subclasses name their `algorithm` and say whether they act on the Box view (`continuous`) or on the
    MultiDiscrete one.
    """

    continuous: ClassVar[bool] = False

    minutes: Positive
    n_envs: Count
    learning_rate: Positive
    final_learning_rate_share: Share = 1.0
    gamma: Share
    batch_size: Count
    net_arch: Layers
    activation: Literal["tanh", "relu"]
    cost_knee: Positive
    torch_threads: Count
    checkpoint_s: Positive = 20.0
    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    history: Count = 1
    acts_on: Annotated[tuple[Part, ...], Field(min_length=1)] | None = None
    domain_randomisation: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    other_uplinks: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    algorithm: str

    @property
    def label(self) -> str:
        """What tables call the agent."""
        return self.name or self.algorithm


class PPOConfig(LearnerConfig):
    """Proximal policy optimisation on the MultiDiscrete view; fields as in `stable_baselines3.PPO`.

    `ent_coef` falls linearly over the run to `ent_coef * final_ent_coef_share`.
    """

    algorithm: Literal["ppo"]
    n_steps: Count
    n_epochs: Count
    gae_lambda: Share
    clip_range: Positive
    ent_coef: Annotated[float, Field(ge=0.0)]
    final_ent_coef_share: Share = 1.0
    vf_coef: Positive
    max_grad_norm: Positive
    target_kl: Positive | None = None


class SoftConfig(LearnerConfig):
    """What the soft actor-critics on the Box view share; fields as in `stable_baselines3.SAC`.

    `train_freq` and `gradient_steps` count steps of the whole batch of `n_envs` environments, so there are
    gradient_steps / (train_freq * n_envs) updates per environment step. `ent_coef` falls
    geometrically over the run to `final_ent_coef`. Beginning wide matters: the better decision often lies at
    the other end of an axis, and a narrow policy never looks there.
    """

    continuous: ClassVar[bool] = True

    buffer_size: Count
    learning_starts: Annotated[int, Field(ge=0)]
    train_freq: Count
    gradient_steps: Count
    ent_coef: Positive
    final_ent_coef: Positive


class SACConfig(SoftConfig):
    """Soft actor-critic on the Box view."""

    algorithm: Literal["sac"]
    tau: Share


class TQCConfig(SoftConfig):
    """Truncated quantile critics on the Box view; fields as in `sb3_contrib.TQC`."""

    algorithm: Literal["tqc"]
    tau: Share
    n_quantiles: Count
    n_critics: Count
    top_quantiles_to_drop_per_net: Annotated[int, Field(ge=0)]


class CrossQConfig(SoftConfig):
    """CrossQ on the Box view; fields as in `sb3_contrib.CrossQ`.

    `renorm_warmup_steps`: updates before batches are normalised by running statistics.
    """

    algorithm: Literal["crossq"]
    policy_delay: Count
    renorm_warmup_steps: Count


class ReplayConfig(LearnerConfig):
    """What our own off-policy learners share (`learners.replay`).

    After every step of the batch of `n_envs` environments come `gradient_steps` updates on `batch_size`
    transitions each, once `learning_starts` environment steps are in the buffer. `tau`: the share by which
    target networks follow per update.
    """

    buffer_size: Count
    learning_starts: Annotated[int, Field(ge=1)]
    gradient_steps: Count
    tau: Share


class SACDiscreteConfig(ReplayConfig):
    """Soft actor-critic with one categorical head for each part, see `learners.sac_discrete`.

    `ent_coef` falls geometrically over the run to `final_ent_coef`. `critic_rank`: number of products in the
    critic.
    """

    algorithm: Literal["sac-discrete"]
    ent_coef: Positive
    final_ent_coef: Positive
    critic_rank: Count


class DQNConfig(ReplayConfig):
    """Branching dueling deep Q-network, see `learners.dqn`.

    Each part is chosen at random with a probability that falls linearly from 1 over the first
    `exploration_share` of the run, to between `epsilon` and epsilon^(1 + `epsilon_exponent`), another in
    every environment. `branch_width`: units in the hidden layer of each branch.
    """

    algorithm: Literal["dqn"]
    exploration_share: Annotated[float, Field(gt=0.0, le=1.0)]
    epsilon: Share
    epsilon_exponent: Annotated[float, Field(ge=0.0)]
    branch_width: Count


class HindsightConfig(LearnerConfig):
    """Actor over a handful of joint actions, trained on what each of them would have cost, see
    `learners.hindsight`.

    `candidates`: most joint actions it chooses between. After every step of the batch of `n_envs`
    environments comes one update on `batch_size` of the last `buffer_size` requests. `ent_coef` falls
    geometrically over the run to `final_ent_coef`, the learning rate along half a cosine; `epsilon` is the
    share of random choices in training, `tau` the share by which the value's target follows per update.
    A request on another uplink (`other_uplinks`) counts `elsewhere_weight` of one at home.
    """

    algorithm: Literal["hindsight"]
    candidates: Count
    buffer_size: Count
    value_arch: Layers
    ent_coef: Positive
    final_ent_coef: Positive
    epsilon: Share
    tau: Share
    elsewhere_weight: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


#: Every configuration, told apart by `algorithm`; a run folder's `run.yaml` holds one of them.
AgentConfig = Annotated[
    PPOConfig | SACConfig | TQCConfig | CrossQConfig | SACDiscreteConfig | DQNConfig | HindsightConfig,
    Field(discriminator="algorithm"),
]
_KINDS: dict[str, type[LearnerConfig]] = {
    get_args(kind.model_fields["algorithm"].annotation)[0]: kind
    for kind in get_args(get_args(AgentConfig)[0])
}


def list_agents() -> tuple[str, ...]:
    """Names of the shipped agent configurations, sorted."""
    return tuple(sorted(file.stem for file in (configs_folder() / AGENT_FOLDER).glob("*.yaml")))


def load_agent_config(source: str | Path) -> AgentConfig:
    """Load an agent configuration by shipped name or from a YAML file.

    Raises:
        ConfigError: unknown name, missing file, unknown key, wrong type or range; names file and key.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = configs_folder() / AGENT_FOLDER / f"{source}.yaml"
        if not path.is_file():
            known = ", ".join(list_agents())
            raise ConfigError(
                f"agent {str(source)!r}: not a shipped agent and not a .yaml file; shipped: {known}"
            )
    return parse_agent_config(read_yaml(path), where=str(path))


def parse_agent_config(data: Any, where: str) -> AgentConfig:
    """Validate plain data as the configuration of the algorithm it names.

    Raises:
        ConfigError: it names no known algorithm, or does not fit that algorithm's fields.
    """
    kind = data.get("algorithm") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(f"{where}: algorithm: expected one of {', '.join(_KINDS)}, found {kind!r}")
    return cast(AgentConfig, parse_record(data, _KINDS[kind], where))
