"""The EBS snapshot with which Bottlerocket nodes start: the images of all runtimes are on it already."""
