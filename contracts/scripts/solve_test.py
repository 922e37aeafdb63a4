"""Whether solve.py ever proves what is not so: questions drawn by a seed, small enough for z3 to answer
them bit by bit. Usage: python scripts/solve_test.py [how many] [seed]
"""

import os
import random
import sys

import z3

os.environ.setdefault("KINESIS_SOLVE_S", "1")
from solve import answer  # noqa: E402 (after the bound that it reads)

count, seed = (int(argument) for argument in (sys.argv[1:] + ["300", "1"][len(sys.argv) - 1 :])[:2])
draw = random.Random(seed)
BITS = 6
DIVIDE, REMAIN, TIMES = (
    z3.Function(f"f_evm_{name}_{BITS}", *[z3.BitVecSort(BITS)] * 3)
    for name in ("bvudiv", "bvurem", "bvmul")
)


def word(depth):
    if depth == 0 or draw.random() < 0.15:
        if draw.random() < 0.3:
            return z3.BitVecVal(draw.choice([0, 1, 2, 3, 7, 10, 63, 62]), BITS)
        return z3.BitVec(draw.choice("abcd"), BITS)
    one, other = word(depth - 1), word(depth - 1)
    kind = draw.randrange(15)
    if kind < 8:
        return [
            lambda: one + other,
            lambda: one - other,
            lambda: one * other,
            lambda: z3.UDiv(one, other),
            lambda: z3.URem(one, other),
            lambda: DIVIDE(one, other),
            lambda: REMAIN(one, other),
            lambda: TIMES(one, other),
        ][kind]()
    if kind == 8:
        # The least of two, as OpenZeppelin's Math has it.
        least = z3.If(z3.ULT(one, other), z3.BitVecVal(1, BITS), z3.BitVecVal(0, BITS))
        return other ^ ((one ^ other) * least)
    if kind == 9:
        return z3.If(truth(1), one, other)
    if kind == 10:
        return z3.Concat(z3.Extract(2, 0, one), z3.Extract(5, 3, other))
    if kind == 11:
        return z3.ZeroExt(3, z3.Extract(4, 2, one))
    if kind == 12:
        return ~one
    if kind == 13:
        return z3.LShR(one, z3.BitVecVal(draw.randrange(8), BITS))
    return one << z3.BitVecVal(draw.randrange(8), BITS)


def truth(depth):
    one, other = word(depth), word(depth)
    compare = [z3.ULE, z3.ULT, z3.UGE, z3.UGT, lambda a, b: a == b, lambda a, b: a != b]
    found = draw.choice([*compare, lambda a, b: a <= b, lambda a, b: a > b])(one, other)
    return z3.Not(found) if draw.random() < 0.3 else found


def meaning(question):
    """The same with what the EVM's functions mean, for z3."""
    a, b = z3.Var(0, z3.BitVecSort(BITS)), z3.Var(1, z3.BitVecSort(BITS))
    zero = z3.BitVecVal(0, BITS)
    pairs = [
        (DIVIDE, z3.If(b == 0, zero, z3.UDiv(a, b))),
        (REMAIN, z3.If(b == 0, zero, z3.URem(a, b))),
        (TIMES, a * b),
    ]
    return [z3.substitute_funs(assertion, *pairs) for assertion in question]


proven = possible = given_up = 0
for number in range(count):
    question = [truth(draw.choice([1, 2])) for _ in range(draw.randrange(2, 6))]
    solver = z3.Solver()
    solver.add(meaning(question))
    so = solver.check()
    said = answer(question)
    if said == "unsat" and so != z3.unsat:
        sys.exit(f"question {number} of seed {seed} has an answer, and was said to have none: {question}")
    if said.startswith("sat") and so == z3.unsat and "f_evm_" not in said:
        sys.exit(f"question {number} of seed {seed} has no answer, and one was given: {question}")
    proven += said == "unsat"
    possible += so == z3.sat
    given_up += so == z3.unsat and said != "unsat"
print(f"{count} questions: {possible} have an answer and none of them was proven to have none; "
      f"{proven} were proven to have none, {given_up} of those without were not")
