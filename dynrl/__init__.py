"""dynrl: reinforcement learning and control for systems whose dynamics are the hard part."""
