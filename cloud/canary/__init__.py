"""Another image on a share of a runtime's replicas: tried, judged, and taken back by itself when it does worse."""
