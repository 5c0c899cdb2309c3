"""`python -m bench.cluster`: studies on a real Ray, whose trials sleep: docs/scale.md."""

ADVISED = {
    "RAY_worker_niceness": "0",
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_AUTH_MODE": "token",
}
"""Variables for Ray, set before it is imported: a machine of two cores starts it slowly."""
