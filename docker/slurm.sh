#!/usr/bin/env bash
# Populate on a cluster with SLURM: each task of the array runs a worker for each of its processors,
# and all workers share the jobs through the database. Copy this file, adapt the lines below, and
# run: sbatch slurm.sh [--only ...]
#
#SBATCH --job-name=bwm-populate
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
#SBATCH --output=bwm-%A_%a.log
# SLURM sends SIGTERM before the time of a task is over: within 10 s its jobs are finished or returned
# to the queue. Other workers reclaim the jobs of a killed task after BWM_STALE_AFTER seconds.
set -euo pipefail

# Every node must reach the server and the store. Keep the password in a file that only you can read
# (chmod 600), not in this script or the environment, which SLURM records.
export DJ_HOST=${DJ_HOST:?name the database server: export DJ_HOST=db.example.org}
export DJ_USER=${DJ_USER:-$USER}
export DJ_PASS_FILE=${DJ_PASS_FILE:-$HOME/.config/bwm/password}
export BWM_STORE=${BWM_STORE:?name the shared folder of the store: export BWM_STORE=/data/bwm/store}
# Downloads, which the nodes share too.
export BWM_HOME=${BWM_HOME:-$HOME/.bwm}

# A worker for each processor; the workers share nine tenths of the memory of the task.
workers=${SLURM_CPUS_PER_TASK:-1}
memory=$((${SLURM_MEM_PER_NODE:-8192} * 9 / 10 / workers))
export OMP_NUM_THREADS=1 # each worker has one processor

# srun forwards the signal to the command. To run in a container:
#   command=(apptainer exec bwm.sif bwm)
command=(bwm)
exec srun "${command[@]}" populate --workers "$workers" --memory "${memory}MiB" --log-format json "$@"
