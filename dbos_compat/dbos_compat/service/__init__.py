"""The client half of the seam: WorkflowService RPCs against the kernel."""
