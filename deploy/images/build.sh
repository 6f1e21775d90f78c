#!/usr/bin/env bash
# Builds images without Docker, by buildah in a chroot: deploy/images/build.sh [TARGET...]. Needs root, and Debian's
# packages buildah and debootstrap. Pip in the build is configured as it is on this machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/images/storage.sh
source deploy/images/storage.sh

targets=("$@")
[ $# -gt 0 ] || targets=(generator compositor gateway llm ranker captioner)
base=$(sed -nE 's/^FROM (python:[^ ]+) AS base$/\1/p' deploy/Dockerfile)
buildah inspect --type image "$base" >/dev/null 2>&1 || deploy/images/base.sh

# One file of all of pip's settings, and the local files and folders that they name; an index has its files beside it.
configuration=$TMPDIR/pip.conf
{
	echo "[global]"
	pip config list | sed -nE "s/^(:env:|global)\.([a-z-]+)='(.*)'$/\2 = \3/p" | sort --unique --field-separator== --key=1,1
} >"$configuration"
volumes=(--volume "$configuration:/etc/pip.conf:ro")
while read -r path; do
	[ ! -e "$path" ] || volumes+=(--volume "$path:$path:ro")
done < <(grep -oE '(file://)?/[^ ]+' "$configuration" | sed -E 's|^file://||; s|/simple$||' | sort --unique)

for target in "${targets[@]}"; do
	buildah build --isolation=chroot --format docker --layers --quiet "${volumes[@]}" --build-arg TORCH="${TORCH:-cpu}" \
		--build-arg REVISION="$(git rev-parse HEAD)" --file deploy/Dockerfile --target "$target" --tag "backdrop/$target" .
done
