#!/bin/sh
# Starts ComfyUI. RUNTIME_DEVICE: gpu (the default) or cpu; RUNTIME_ARGS: further options of ComfyUI's own.
set -eu
case "${RUNTIME_DEVICE:=gpu}" in
gpu) ;;
cpu) set -- --cpu "$@" ;;
*) echo "RUNTIME_DEVICE is '$RUNTIME_DEVICE': it must be gpu or cpu" >&2; exit 2 ;;
esac
data=/var/lib/comfyui
mkdir -p "$data/custom_nodes" "$data/input" "$data/output" "$data/user"
# Reading models through mmap is many times slower on network volumes, and no faster on a local disk.
# shellcheck disable=SC2086 # RUNTIME_ARGS holds several words
exec python main.py --listen 0.0.0.0 --port 8188 --disable-auto-launch --disable-mmap \
    --base-directory "$data" --temp-directory /tmp --database-url sqlite:///:memory: \
    --extra-model-paths-config /opt/comfyui-models.yaml "$@" ${RUNTIME_ARGS:-}
