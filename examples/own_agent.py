"""An agent of your own: say what is learnt, how to act and how to learn from one step; the rest is inherited."""

from dataclasses import dataclass

import gymnasium
import numpy as np

import dynrl
from dynrl.testing.probes import ActionReward


@dataclass(frozen=True)
class ArmValuesConfig:
    learning_rate: float = 0.1
    exploration: float = 0.1


class ArmValues(dynrl.Agent):
    """Epsilon-greedy play on running means of the reward of each action."""

    Config = ArmValuesConfig

    def initial_state(self):
        return np.zeros(self.action_space.n)

    def act(self, observation, deterministic):
        if not deterministic and self.rng.random() < self.config.exploration:
            return int(self.rng.integers(self.action_space.n))
        return int(self.state.argmax())

    def update(self, step):
        self.state[step.action] += self.config.learning_rate * (step.reward - self.state[step.action])


dynrl.register_agent("ArmValues", "__main__:ArmValues", "running means")  # configs can name it now

probe = ArmValues(dynrl.GymnasiumEnv(ActionReward()), seed=0).learn(200)
print("probe solved:", probe.predict(np.zeros(1, np.float32))[0] == 1)  # action 1 pays, action 0 costs

env = gymnasium.make("dynrl/DLBSynthetic-v0", horizon=500)
agent = ArmValues(env, seed=0, exploration=0.2).learn(5000)
agent.save("arm_values.safetensors")
arm = int(ArmValues.load("arm_values.safetensors", env).predict(np.zeros(1))[0])
print(
    "plays arm",
    arm,
    "worth",
    env.unwrapped.func_env.system.value(env.unwrapped.func_env.action_set.actions[arm]),
)
