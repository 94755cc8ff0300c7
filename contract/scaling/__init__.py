"""How many replicas a runtime gets: settings, and the decisions of KEDA and the Kubernetes HPA as pure functions."""
