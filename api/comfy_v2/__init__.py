"""Comfy's API v2 for jobs and assets, as its own clients speak it: nothing here is imported unless COMFY_API is on.

The contract is that of `comfy-sdk` 0.5.0 and `comfy-api-proxy` 0.1.6 (PyPI). A job is a task, and all that is done to
it is done by what `/v1` stands on; docs/comfy-api.md says what is served, and what is not.
"""
