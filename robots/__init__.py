"""Robot descriptions, the control loop and ROS transports."""
