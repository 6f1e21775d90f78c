# shellcheck shell=bash
# Sourced by the other scripts: where buildah keeps images when there is no Docker. IMAGES_DIR may name another folder.
IMAGES_DIR=${IMAGES_DIR:-/var/tmp/backdrop-images}
export TMPDIR=$IMAGES_DIR/tmp
mkdir -p "$TMPDIR"
buildah() { command buildah --root "$IMAGES_DIR/storage" --runroot "$IMAGES_DIR/run" "$@"; }
