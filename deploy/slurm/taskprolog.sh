#!/bin/sh
# Slurm runs this before each task (slurm.conf: TaskProlog=/etc/slurm/paceline-taskprolog.sh) and takes what it prints
# as the task's environment: every job of the cluster is watched by its node's agent, and nobody changes anything.
# A user who does not want it sets PACELINE_ATTACH=0.
hooks=/opt/paceline/attach/path
if [ -f "$hooks/sitecustomize.py" ]; then
    echo "export PYTHONPATH=$hooks${PYTHONPATH:+:$PYTHONPATH}"
fi
