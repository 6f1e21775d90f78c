#!/usr/bin/env bash
# Makes an image that stands in for the Dockerfile's base where no registry can be reached: Debian's own Python of the
# same minor version, by debootstrap, from the package mirror that this machine's apt uses. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/images/storage.sh
source deploy/images/storage.sh

base=$(sed -nE 's/^FROM (python:[^ ]+) AS base$/\1/p' deploy/Dockerfile)
release=${base##*-}
root=$(mktemp --directory --tmpdir="$TMPDIR" base.XXXXXX)
container=
trap 'rm -rf "$root"; [ -z "$container" ] || buildah rm "$container" >/dev/null' EXIT

# shellcheck disable=SC2016  # apt fills it in
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $release" 'Component: main' | head -1)
debootstrap --variant=minbase --include=ca-certificates,netbase,tzdata,python3-pip,python3-venv \
	"$release" "$root" "${mirror:?"apt has no packages of $release"}"

# As the slim images do: no manuals, no translations, no package lists.
rm -rf "$root"/usr/share/{doc,info,locale,man}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*
# The official image has one Python, `python`, whose pip installs what it is told to.
ln -s python3 "$root/usr/bin/python"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >/dev/null
buildah config --cmd python3 --env PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin "$container"
buildah commit --quiet "$container" "docker.io/library/$base"
