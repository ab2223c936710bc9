"""What runs inside the process of the SDK's suite; its folder is on that process's path."""
