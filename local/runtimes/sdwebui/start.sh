#!/bin/sh
# Starts SD Web UI's API. RUNTIME_DEVICE: gpu (the default) or cpu; RUNTIME_ARGS: further options of its own;
# SDWEBUI_CHECKPOINT: the file in Stable-diffusion/ to begin with, if it is there.
set -eu
case "${RUNTIME_DEVICE:=gpu}" in
gpu) ;;
cpu) set -- --use-cpu all --no-half --precision full --skip-torch-cuda-test "$@" ;;
*) echo "RUNTIME_DEVICE is '$RUNTIME_DEVICE': it must be gpu or cpu" >&2; exit 2 ;;
esac
data=/var/lib/sdwebui
models=/opt/ml/code/models
# It makes folders below its models folder, which is read-only here: each folder that has come is linked, by itself.
mkdir -p "$data/models"
find "$data/models" "$data/embeddings" -maxdepth 1 -type l -delete 2>/dev/null || true
for folder in "$models"/*/; do
    [ -d "$folder" ] || continue
    name=$(basename "$folder")
    place="$data/models/$name"
    [ "$name" != embeddings ] || place="$data/embeddings"
    if [ -d "$place" ] && [ ! -L "$place" ]; then rm -rf "$place"; fi
    ln -s "${folder%/}" "$place"
done
cp /opt/sdwebui-config.json "$data/config.json"
if [ -n "${SDWEBUI_CHECKPOINT:-}" ] && [ -f "$models/Stable-diffusion/$SDWEBUI_CHECKPOINT" ]; then
    set -- --ckpt "$data/models/Stable-diffusion/$SDWEBUI_CHECKPOINT" "$@"
fi
# shellcheck disable=SC2086 # RUNTIME_ARGS holds several words
exec python launch.py --skip-prepare-environment --skip-version-check --nowebui --listen --port 7860 \
    --data-dir "$data" --ui-settings-file "$data/config.json" --no-hashing --no-download-sd-model \
    "$@" ${RUNTIME_ARGS:-}
