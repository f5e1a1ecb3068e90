#!/usr/bin/env bash
# Builds the CPU image without a container daemon or an image registry, and checks what it promises.
#
# Usage: deploy/docker/check-image.sh [ROOTFS]
#   ROOTFS  a Debian 12 root file system to build on (default: a fresh one by debootstrap, from
#           DEBIAN_MIRROR where that is set)
#
# Needs root and the packages buildah and debootstrap. Takes minutes; leaves no image behind.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
tag=localhost/token-sampler-check
base=$tag-base:latest
# A store of its own, so that nobody's images are touched.
buildah() { command buildah --root "$scratch/store" --runroot "$scratch/run" "$@"; }
clean_up() {
  buildah rm --all >/dev/null || true
  buildah rmi --all --force >/dev/null || true
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
  echo "check-image: $*" >&2
  exit 1
}

rootfs=${1:-}
if [ -z "$rootfs" ]; then
  rootfs=$scratch/rootfs
  debootstrap --variant=minbase bookworm "$rootfs" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
fi

container=$(buildah from scratch)
buildah copy --quiet "$container" "$rootfs" / >/dev/null
buildah commit --quiet "$container" "$base" >/dev/null

buildah build --isolation chroot --format docker --target cpu --file deploy/docker/Dockerfile \
  --build-arg BUILDER_IMAGE="$base" --build-arg FINAL_IMAGE="$base" --tag "$tag:cpu" .

config=$(buildah inspect --type image --format '{{.Docker.Config}}' "$tag:cpu")
[[ $config == *token-sampler-server* ]] || fail "the entry point is not the server: $config"

# As the container's user: start the server as the image says, ask for its health, stop it.
container=$(buildah from "$tag:cpu")
# shellcheck disable=SC2016  # expanded in the container
buildah run --isolation chroot "$container" -- sh -ec '
  [ "$(id -u)" -ne 0 ] || { echo "runs as root"; exit 1; }
  ! command -v cmake || { echo "the build tools are in the image"; exit 1; }
  token-sampler-server --listen=127.0.0.1:0 --address-file=/tmp/address &
  for _ in $(seq 100); do [ ! -s /tmp/address ] || break; sleep 0.1; done
  token-sampler-client health --address "$(cat /tmp/address)"
  token-sampler-client info --address "$(cat /tmp/address)"
  kill -TERM $!
  wait $!
'
size=$(buildah images --format '{{.Size}}' "$tag:cpu")
echo "check-image: the image builds, serves without root and stops cleanly; its size is $size"
