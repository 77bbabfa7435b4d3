"""How messages travel between the control loop and a robot."""
