"""How much is tried: `make test` tries every kind of fault, `make faults` every combination and 200 kills."""

import os

THOROUGH = "FAULTS_KILLS" in os.environ
KILLS = int(os.environ.get("FAULTS_KILLS", "20"))
SEED = int(os.environ.get("FAULTS_SEED", "3"))
