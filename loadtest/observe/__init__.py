"""What the observer looks at: queues, replicas, nodes and GPUs, each behind one small interface."""
