"""Exported policies act as the trained ones: to 1e-5 in a fresh process, and in whole episodes."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynrl
from dynrl.policy import BundleContract, BundleModel, BundleParity, BundlePath, Model, PolicyBundle
from dynrl.policy.export import contract_of, export_policy
from dynrl.policy.exporters.equinox import export_jax, export_recurrent_jax
from dynrl.policy.exporters.exported import ExportedPolicy
from dynrl.policy.exporters.jaxpr import jax_graph
from dynrl.policy.exporters.mlp import export_mlp

ENV = "dynrl/ArmReach-v0"
SIZE, ACTIONS = 12, 3


@pytest.fixture(scope="module")
def env():
    return gym.make(ENV)


def export(exported, env, path):
    """Exports, and says again what `export_policy` has proven, from the bundle alone."""
    bundle = export_policy(exported, contract_of(env), env, path)
    assert bundle.contract.parity.max_abs_error <= 1e-5
    assert bundle.contract.parity.steps >= 1000
    assert bundle.contract.parity.episodes >= 3
    assert bundle.contract.parity.framework == exported.framework
    assert PolicyBundle.load(path).files() == bundle.files()
    return bundle


def acts_the_same(bundle, act, observations):
    """Largest difference between a bundle and `act(observation [n]) -> action [m]`."""
    session = bundle.session()
    return max(np.abs(session(o) - np.asarray(act(o)).reshape(-1)).max() for o in observations)


@pytest.fixture(scope="module")
def observations():
    return np.random.default_rng(5).normal(size=(50, SIZE)).astype(np.float32)


def test_equinox_mlp(env, tmp_path, observations):
    import equinox as eqx

    network = eqx.nn.MLP(SIZE, ACTIONS, 64, 2, jax.nn.tanh, jnp.tanh, key=jax.random.key(0))
    bundle = export(export_jax(network, SIZE), env, tmp_path / "mlp.bundle")
    assert acts_the_same(bundle, jax.jit(lambda o: network(o)), observations) <= 1e-6


def test_equinox_gru_remembers_as_the_original_does(env, tmp_path, observations):
    import equinox as eqx

    keys = jax.random.split(jax.random.key(1))
    cell, head = eqx.nn.GRUCell(SIZE, 32, key=keys[0]), eqx.nn.Linear(32, ACTIONS, key=keys[1])

    def policy(observation, memory):
        memory = cell(observation, memory)
        return jnp.tanh(head(memory)), memory

    start = np.linspace(-0.5, 0.5, 32, dtype=np.float32)
    bundle = export(
        export_recurrent_jax(policy, SIZE, {"h": (32,)}, {"h": start}), env, tmp_path / "gru.bundle"
    )
    session, compiled = bundle.session(), jax.jit(policy)
    for _ in range(2):
        session.reset()
        memory, worst = start, 0.0
        for observation in np.tile(observations, (6, 1)):
            action, memory = compiled(observation, memory)
            played = session(observation).copy()
            worst = max(worst, np.abs(played - np.asarray(action)).max())
            session.rehearse()
            np.testing.assert_array_equal(session.action, played)
        assert worst <= 1e-5
    np.testing.assert_allclose(session.state()["h_in"][0], memory, atol=1e-5)
    session.warm_up(3)
    np.testing.assert_array_equal(session.state()["h_in"][0], start)


def test_own_mlp_is_its_formula(env, tmp_path, observations):
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(16, SIZE)) / 4, rng.normal(size=(ACTIONS, 16)) / 4
    layers = [(first, np.ones(16)), (second, np.zeros(ACTIONS))]
    bundle = export(export_mlp(layers, "relu", "tanh"), env, tmp_path / "own.bundle")

    def by_hand(observation):
        return np.tanh(second @ np.maximum(first @ observation + 1, 0))

    assert acts_the_same(bundle, by_hand, observations) <= 1e-6


def vec_normalised():
    """The environment behind statistics of random play."""
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    env = VecNormalize(DummyVecEnv([lambda: gym.make(ENV)]), clip_obs=3.0)
    env.seed(0)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(100):
        env.step(rng.uniform(-1, 1, (1, ACTIONS)).astype(np.float32))
    return env


def check_against_predict(model, exported, env, path):
    """The bundle takes bare observations; `predict` takes normalised ones."""
    bundle = export(exported, env, path)
    statistics = model.get_env()
    bare = 3.0 * np.random.default_rng(0).normal(size=(50, SIZE)).astype(np.float32)

    def predict(observation):
        return model.predict(statistics.normalize_obs(observation[None]), deterministic=True)[0]

    assert acts_the_same(bundle, predict, bare) <= 1e-5
    without = acts_the_same(bundle, lambda o: model.predict(o, deterministic=True)[0], bare)
    assert without > 1e-2, "the statistics make no difference here, so the test shows nothing"


@pytest.mark.parametrize("name", ["PPO", pytest.param("SAC", marks=pytest.mark.slow)])
def test_stable_baselines_with_normalised_observations(env, tmp_path, name):
    sb3 = pytest.importorskip("stable_baselines3", reason="needs stable-baselines3: pip install 'dynrl[sb3]'")
    import torch

    from dynrl.policy.exporters.sb3 import export_sb3

    model = getattr(sb3, name)("MlpPolicy", vec_normalised(), seed=0, device="cpu")
    with torch.no_grad():  # as far from the start as training would bring it
        for parameter in model.policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    check_against_predict(model, export_sb3(model), env, tmp_path / "sb3.bundle")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_sbx_with_normalised_observations(env, tmp_path, name):
    sbx = pytest.importorskip("sbx", reason="needs sbx-rl: pip install 'dynrl[sb3]'")
    from dynrl.policy.exporters.sb3 import export_sbx

    model = getattr(sbx, name)("MlpPolicy", vec_normalised(), seed=0)
    rng = np.random.default_rng(1)
    moved = jax.tree.map(
        lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32),
        model.policy.actor_state.params,
    )
    model.policy.actor_state = model.policy.actor_state.replace(params=moved)
    check_against_predict(model, export_sbx(model), env, tmp_path / "sbx.bundle")


def test_actions_are_rescaled_or_clipped_to_the_space_as_predict_does(tmp_path):
    sb3 = pytest.importorskip("stable_baselines3", reason="needs stable-baselines3: pip install 'dynrl[sb3]'")
    from dynrl.policy.exporters.sb3 import export_sb3
    from dynrl.policy.session import PolicySession

    from .conftest import make_contract

    class Wide(gym.Env):
        observation_space = gym.spaces.Box(-np.inf, np.inf, (18,), np.float32)
        action_space = gym.spaces.Box(
            np.array([-3.0, 0.0, 10.0], np.float32), np.array([1.0, 5.0, 30.0], np.float32)
        )

        def reset(self, *, seed=None, options=None):
            return np.zeros(18, np.float32), {}

        def step(self, action):
            return np.zeros(18, np.float32), 0.0, False, True, {}

    contract = make_contract(model=Model("policy.onnx", "0" * 64, 17))
    seen = 5.0 * np.random.default_rng(0).normal(size=(40, 18)).astype(np.float32)
    for algorithm, settings in ((sb3.SAC, {}), (sb3.PPO, {"policy_kwargs": {"ortho_init": False}})):
        model = algorithm("MlpPolicy", Wide(), seed=0, device="cpu", **settings)
        session = PolicySession(export_sb3(model).model.SerializeToString(), contract, {})
        actions = np.stack([session(o).copy() for o in seen])
        np.testing.assert_allclose(actions, model.predict(seen, deterministic=True)[0], atol=1e-5)
        assert actions.min() >= -3.0 and actions[:, 2].min() >= 10.0


@pytest.mark.slow
def test_brax(env, tmp_path, observations):
    from brax.training.acme import running_statistics, specs
    from brax.training.agents.ppo import networks

    from dynrl.policy.exporters.brax import export_brax

    made = networks.make_ppo_networks(SIZE, ACTIONS, preprocess_observations_fn=running_statistics.normalize)
    statistics = running_statistics.init_state(specs.Array((SIZE,), jnp.float32))
    statistics = running_statistics.update(statistics, 2.0 + 3.0 * jnp.asarray(observations))
    parameters = made.policy_network.init(jax.random.key(0))
    policy = networks.make_inference_fn(made)((statistics, parameters), deterministic=True)
    world = dynrl.BraxEnv(dynrl.make_functional(ENV))
    bundle = export(export_brax(policy, world), env, tmp_path / "brax.bundle")
    act = jax.jit(lambda o: policy(o[None], jax.random.key(0))[0])
    assert acts_the_same(bundle, act, observations) <= 1e-5
    bare = networks.make_ppo_networks(SIZE, ACTIONS)
    unnormalised = networks.make_inference_fn(bare)((statistics, parameters), deterministic=True)
    assert acts_the_same(bundle, lambda o: unnormalised(o[None], jax.random.key(0))[0], observations) > 1e-2


@pytest.mark.slow
def test_brax_as_its_trainer_returns_it(env, tmp_path, observations):
    from brax.training.agents.ppo import train as ppo

    from dynrl.policy.exporters.brax import export_brax

    world = dynrl.BraxEnv(dynrl.make_functional(ENV))
    make_policy, trained, _ = ppo.train(
        environment=world,
        num_timesteps=20_000,
        episode_length=75,
        num_envs=16,
        unroll_length=25,
        batch_size=16,
        num_minibatches=4,
        num_updates_per_batch=4,
        normalize_observations=True,
        run_evals=False,
        num_evals=1,
        seed=0,
    )
    policy = make_policy(trained, deterministic=True)
    bundle = export(export_brax(policy, world), env, tmp_path / "brax.bundle")
    act = jax.jit(lambda o: policy(o[None], jax.random.key(0))[0])
    assert acts_the_same(bundle, act, observations) <= 1e-5


def test_a_graph_that_acts_differently_is_not_written(env, tmp_path):
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(ACTIONS, SIZE)) / 9, np.zeros(ACTIONS))]
    right = export_mlp(layers, final="tanh")
    wrong = export_mlp([(layers[0][0] * 1.001, layers[0][1])], final="tanh")
    mixed = ExportedPolicy("numpy", wrong.model, right.step)
    with pytest.raises(BundleParity):
        export(mixed, env, tmp_path / "mixed.bundle")
    assert list(tmp_path.iterdir()) == []


def test_parity_looks_beyond_the_examples(env, tmp_path):
    """A graph that is right along the recorded steps and wrong for other goals is found out in the fresh process."""
    from dynrl.policy.exporters.equinox import export_batched_jax

    weights = np.random.default_rng(0).normal(size=(SIZE, ACTIONS)).astype(np.float32) / 9
    right = export_batched_jax(lambda o: jnp.tanh(o @ weights), SIZE, "jax")
    examples = export(right, env, tmp_path / "right.bundle").examples["in.observation"]
    (goal,) = np.unique(examples[:, 0, 7])
    wrong = export_batched_jax(
        lambda o: jnp.tanh(o @ weights) + 0.1 * (jnp.abs(o[:, 7:8] - goal) > 0.1), SIZE, "jax"
    )
    with pytest.raises(BundleParity, match="observations; nothing was written"):
        export(ExportedPolicy("jax", wrong.model, right.step), env, tmp_path / "wrong.bundle")
    assert not (tmp_path / "wrong.bundle").exists()


def test_what_is_there_is_never_overwritten(env, tmp_path):
    target = tmp_path / "policy.bundle"
    target.write_text("mine")
    layers = [(np.zeros((ACTIONS, SIZE)), np.zeros(ACTIONS))]
    with pytest.raises(BundlePath, match="found something there"):
        export_policy(export_mlp(layers), contract_of(env), env, target)
    assert target.read_text() == "mine"


def test_an_environment_without_terms_says_what_to_do():
    with pytest.raises(BundleContract, match="--contract TERMS"):
        contract_of(gym.make("Pendulum-v1"))


def test_discrete_actions_and_stacked_frames_are_refused():
    sb3 = pytest.importorskip("stable_baselines3", reason="needs stable-baselines3: pip install 'dynrl[sb3]'")
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

    from dynrl.policy.exporters.sb3 import export_sb3

    with pytest.raises(BundleModel, match="expected a Box"):
        export_sb3(sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu"))
    stacked = VecFrameStack(DummyVecEnv([lambda: gym.make(ENV)]), 2)
    with pytest.raises(BundleModel, match="VecFrameStack"):
        export_sb3(sb3.PPO("MlpPolicy", stacked, device="cpu"))


FUNCTIONS = {
    "activations": lambda x: (
        jax.nn.gelu(x) + jax.nn.silu(x) + jax.nn.elu(x) + jax.nn.softplus(x) + jax.nn.mish(x)
    ),
    "softmax": lambda x: jax.nn.softmax(x[:, :3]) + jax.nn.log_softmax(x[:, 3:6]),
    "layer norm": lambda x: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5),
    "selection": lambda x: jnp.where(jnp.isfinite(x) & (x != 0.5), jnp.clip(x, -1, 1), 0.0),
    "pieces": lambda x: (
        jnp.concatenate([x[:, ::2], x[:, 1::2]], axis=-1).reshape(1, 3, 4).transpose(0, 2, 1)[..., 0]
    ),
    "einsum": lambda x: jnp.einsum("bi,ij,bj->b", x, jnp.eye(12) + 0.1, x)[:, None],
    "powers": lambda x: (
        x**2 + x**3 + jnp.exp2(x / 4) + jnp.sqrt(jnp.abs(x)) + jnp.expm1(x / 4) + jnp.log1p(x * x)
    ),
    "reductions": lambda x: jnp.stack([x.max(-1), x.min(-1), x.sum(-1), jnp.prod(x[:, :3], -1)], -1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jax_primitives_keep_their_values(name, observations):
    import onnx
    import onnxruntime

    function = FUNCTIONS[name]
    shape = jax.eval_shape(function, jax.ShapeDtypeStruct((1, SIZE), jnp.float32)).shape
    model = jax_graph(function, {"observation": (1, SIZE)}, ["action"])
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for observation in observations[:20]:
        (found,) = session.run(None, {"observation": observation[None]})
        assert found.shape == shape
        np.testing.assert_allclose(found, function(observation[None]), rtol=2e-5, atol=2e-6)


def test_what_onnx_has_no_operator_for_is_refused_by_name():
    with pytest.raises(BundleModel, match="JAX primitive 'sort'"):
        jax_graph(lambda x: jnp.sort(x), {"observation": (1, SIZE)}, ["action"])
    with pytest.raises(BundleModel, match="returns 1 arrays, expected 2"):
        jax_graph(lambda x: x, {"observation": (1, SIZE)}, ["action", "h_out"])
    with pytest.raises(BundleModel, match="int32, expected float32"):
        jax_graph(lambda x: jnp.argmax(x, -1), {"observation": (1, SIZE)}, ["action"])


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(BundleModel, match=r"layers\[1\]"):
        export_mlp([(np.zeros((4, 3)), np.zeros(4)), (np.zeros((2, 5)), np.zeros(2))])
    with pytest.raises(BundleModel, match="activation: found 'swish'"):
        export_mlp([(np.zeros((4, 3)), np.zeros(4))], "swish")


class Doubling(gym.Env):
    """x <- 2 x mod 1 plus the action: after 40 steps a rounding decides the return, unless `calm`."""

    observation_space = gym.spaces.Box(0.0, 2.0, (1,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, calm):
        self.calm = calm

    def reset(self, *, seed=None, options=None):
        self.steps, self.x = 0, 0.1 + 0.01 * (seed or 0)
        return np.array([self.x]), {}

    def step(self, action):
        self.steps += 1
        self.x = (0.5 if self.calm else 2.0) * self.x % 1.0 + 0.3 * float(action[0])
        return np.array([self.x]), self.x, False, self.steps >= 60, {}


def test_chaos_is_told_from_error():
    """Where roundings decide the return nothing is compared; where they do not, a wrong policy is found out."""
    from dynrl.policy.parity import check_closed_loop

    def linear(weight):
        return export_mlp([(np.array([[weight]]), np.zeros(1))], final="tanh")

    class Session:
        def __init__(self, exported):
            self.exported = exported

        def session(self):
            from dynrl.policy.parity import TrainedPolicy

            return TrainedPolicy(self.exported)

    right = linear(0.7)
    assert check_closed_loop(Doubling(calm=True), right, Session(right), range(5)) == 5
    rounded = linear(0.7 * (1 + 1e-6))
    assert check_closed_loop(Doubling(calm=True), right, Session(rounded), range(5)) == 5
    assert check_closed_loop(Doubling(calm=False), right, Session(rounded), range(5)) == 0
    with pytest.raises(BundleParity, match="seed 0"):
        check_closed_loop(Doubling(calm=True), right, Session(linear(0.75)), range(5))
