import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy

from dvfo_agents.fused import FusedMultiCategorical, FusedPolicy

SIZES = [24, 3, 1, 13, 4, 9]


def both(logits: torch.Tensor) -> tuple[MultiCategoricalDistribution, FusedMultiCategorical]:
    plain, fused = MultiCategoricalDistribution(SIZES), FusedMultiCategorical(SIZES)
    return plain.proba_distribution(action_logits=logits), fused.proba_distribution(action_logits=logits)


def random_logits(scale: float) -> torch.Tensor:
    return scale * torch.randn(200, sum(SIZES), generator=torch.Generator().manual_seed(0))


def test_fused_heads_are_the_distribution_of_stable_baselines3() -> None:
    for scale in (0.1, 3.0, 300.0):
        plain, fused = both(random_logits(scale))
        actions = plain.sample()
        torch.testing.assert_close(
            fused.log_prob(actions), plain.log_prob(actions), rtol=1e-5, atol=1e-4 * scale
        )
        torch.testing.assert_close(fused.entropy(), plain.entropy(), rtol=1e-4, atol=1e-4)
        assert torch.equal(fused.mode(), plain.mode())


def test_fused_heads_have_the_same_gradient() -> None:
    gradients = []
    for which in range(2):
        logits = random_logits(2.0).requires_grad_()
        distribution = both(logits)[which]
        actions = torch.zeros(200, len(SIZES))
        (distribution.log_prob(actions).sum() + 0.3 * distribution.entropy().sum()).backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_heads_far_apart_stay_finite() -> None:
    logits = torch.zeros(1, sum(SIZES))
    logits[:, :24] = -1000.0
    logits[:, 28:41] = 1000.0
    _, fused = both(logits)
    assert torch.isfinite(fused.log_prob(torch.zeros(1, len(SIZES)))).all()
    assert torch.isfinite(fused.entropy()).all()


def test_samples_follow_the_probabilities() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, sum(SIZES)).expand(200_000, -1)
    plain, fused = both(logits)
    samples = fused.sample()
    for head, categorical in enumerate(plain.distribution):
        seen = np.bincount(samples[:, head].numpy(), minlength=SIZES[head]) / len(samples)
        np.testing.assert_allclose(seen, categorical.probs[0].numpy(), atol=0.006)


def test_fused_policy_has_the_parameters_of_the_plain_one() -> None:
    def build(kind: type[ActorCriticPolicy]) -> ActorCriticPolicy:
        torch.manual_seed(0)
        return kind(spaces.Box(-1.0, 1.0, (15,)), spaces.MultiDiscrete(SIZES), lambda _: 1e-3)

    plain, fused = build(ActorCriticPolicy).state_dict(), build(FusedPolicy).state_dict()
    assert plain.keys() == fused.keys()
    assert all(torch.equal(plain[name], fused[name]) for name in plain)
