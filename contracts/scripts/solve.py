"""What halmos asks to solve: cvc5 (from PyPI, where it comes without a command), with machine words
translated to integers, since solvers that count bits do not divide 256 of them.

    halmos --solver-command "python scripts/solve.py" ...
"""

import sys

import cvc5

solver = cvc5.Solver()
solver.setOption("solve-bv-as-int", "sum")
solver.setOption("produce-models", "true")
parser = cvc5.InputParser(solver)
parser.setFileInput(cvc5.InputLanguage.SMT_LIB_2_6, sys.argv[-1])
symbols = parser.getSymbolManager()
while not (command := parser.nextCommand()).isNull():
    print(command.invoke(solver, symbols), end="")
