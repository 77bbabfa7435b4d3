"""Parts of deep learners that several algorithms share: networks, replay, the SAC and TD3 updates."""
