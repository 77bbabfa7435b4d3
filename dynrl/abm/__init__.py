"""Agent-based models: what they promise to whoever controls, approximates or personalises them, and the kernel they are
written on."""
