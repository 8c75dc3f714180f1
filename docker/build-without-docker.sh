#!/usr/bin/env bash
# Builds the CPU image on a Debian machine that has no container engine, and asks it for its help.
# Root is needed, and `apt-get install buildah debootstrap`. The base system is made by debootstrap,
# so nothing is pulled from an image registry. Arguments go to `buildah build`, for instance
#   docker/build-without-docker.sh --secret id=pip.conf,src=/etc/pip.conf --volume /srv/wheels:/srv/wheels:ro
# SUITE and MIRROR choose the Debian (debootstrap has a default mirror), IMAGE names the result. Where
# overlay mounts are refused, give buildah the driver that needs none in /etc/containers/storage.conf: `driver = "vfs"`.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=${SUITE:-bookworm}
image=${IMAGE:-opora}
base=localhost/opora-base:$suite
export BUILDAH_ISOLATION=chroot

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$root" ${MIRROR:+"$MIRROR"}
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$root" /
    buildah commit --quiet --rm "$container" "$base"
fi

buildah build --format docker --build-arg BASE="$base" --tag "$image" --file docker/Dockerfile "$@" .
container=$(buildah from "$image")
buildah run "$container" -- opora --help
buildah rm "$container" >/dev/null
buildah images "$image"
