"""Success rates of attacks; the code is in `analysis.attacks.success_rates`.

python -m analysis.success_rates runs/attack --by method,epsilon
"""

import sys

from analysis.attacks.success_rates import accuracy, main, success_rate
from analysis.command_line import exit_status

__all__ = ["accuracy", "success_rate"]

if __name__ == "__main__":
    sys.exit(exit_status(main))
