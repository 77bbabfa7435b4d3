"""Programs that run beside the control loop and speak for it: rospy and rosbridge need interpreters of their own."""
