#!/usr/bin/env bash
# Trains the paper's rows for one data set, evaluates each by the published protocol, and prints the paper's number beside.
#
#   recipes/reproduce.sh cub200 CUB_200_2011 [OUT] [OPTIONS of diml train]
#
#   SEEDS="0 1 2"     one run of each recipe for each of them (default: 0)
#   LOSSES=margin     margin, multisimilarity, or both (default)
#   WEIGHTS=FILE      ImageNet weights of ResNet-50; without it they are downloaded, as the recipes say
#
# As in the paper, all classes of the first half train, and the last epoch counts (data.validation=0). Run it again to go
# on after an interruption: finished runs are kept. OUT (default: runs/reproduce-DATA) then holds a folder for each run,
# and report.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ $# -lt 2 ] || [ ! -f "$here/${1:-}-margin-pooled.toml" ]; then
  echo "usage: recipes/reproduce.sh cub200|cars196|sop DIR [OUT] [OPTIONS of diml train]" >&2
  exit 2
fi
data=$1 dir=$2
shift 2
out=runs/reproduce-$data
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then
  out=$1
  shift
fi

options=(--set data.validation=0 "$@")
if [ -n "${WEIGHTS:-}" ]; then
  options+=(--model "timm:resnet50?weights=$WEIGHTS")
fi
mkdir -p "$out"
for seed in ${SEEDS:-0}; do
  for loss in ${LOSSES:-margin multisimilarity}; do
    for similarity in pooled structural; do
      run=$out/$loss-$similarity-seed$seed
      recipe=$here/$data-$loss-$similarity.toml
      if [ ! -f "$run/result.json" ]; then
        if [ -f "$run/settings.toml" ]; then
          diml train "$data:$dir" --recipe "$recipe" --out "$run" --set "run.seed=$seed" "${options[@]}" --resume
        else
          diml train "$data:$dir" --recipe "$recipe" --out "$run" --set "run.seed=$seed" "${options[@]}"
        fi
      fi
      if [ ! -f "$run/published.json" ]; then
        diml evaluate "$data:$dir" --model "$run" --protocol published --json > "$run/published.json.part"
        mv "$run/published.json.part" "$run/published.json"
      fi
    done
  done
done
python3 "$here/beside.py" "$data" "$out"
