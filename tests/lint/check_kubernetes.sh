#!/usr/bin/env bash
# Renders every kustomization of deploy/kubernetes. Usage: check_kubernetes.sh [ROOT]
# Exits with 77 (skipped) where there is no kubectl.
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
if ! command -v kubectl >/dev/null; then
  echo "skipped: no kubectl"
  exit 77
fi
for file in deploy/kubernetes/*/kustomization.yaml; do
  folder=$(dirname "$file")
  rendered=$(kubectl kustomize "$folder")
  # One object of each kind, and an image with a tag.
  for pattern in '^kind: Deployment$' '^kind: Service$' '^[ -]*image: token-sampler:[a-z]+$'; do
    [ "$(grep -cE "$pattern" <<<"$rendered")" -eq 1 ] || {
      echo "$folder: not exactly one line like $pattern"
      exit 1
    }
  done
  echo "$folder: ok"
done
