"""The chart on a real Kubernetes with real KEDA, on this machine.

Two providers bring a kubeconfig: `processes`, a control plane of processes, and `kind` or any context that is there
already. Everything above is the same for both: emulator, KEDA, one release of the chart for each runtime, API.
"""
