"""The parts of a deployment on AWS, one construct per concern."""
