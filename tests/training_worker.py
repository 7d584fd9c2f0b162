"""One of the processes of tests/test_training.py: trains a recipe on the quadrants and prints its losses."""

import json
import os
import sys

from support_training import DATA
from sw.training.distributed import Processes
from sw.training.recipe import make_recipe
from sw.training.trainer import Trainer

if __name__ == "__main__":
    with Processes.start() as processes:
        _, log = Trainer(
            make_recipe("small", json.loads(sys.argv[1])), DATA, processes=processes
        ).run()
        if processes.is_first:
            print(json.dumps({"processes": processes.count, "epochs": log["epochs"]}), flush=True)
    os._exit(0)  # threads of gloo that still end now and then abort the interpreter's own exit
