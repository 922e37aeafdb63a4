"""What halmos asks to solve, in integers: solvers that count bits do not divide words of 256 of them.

    halmos --solver-command "python scripts/solve.py" ...

Every word of the question becomes an integer between two bounds that are known, so that what cannot
overflow needs no remainder; a division becomes the quotient and the remainder that define it. What is
said of anything else than words and truths is left out, which leaves more possible and so proves
nothing that is not so. An answer of `sat` is given only with values that z3 has tried in the question
as it was asked; `unknown` is given for all else. KINESIS_SOLVE_S bounds the seconds (60).
"""

import os
import sys

import cvc5
import z3

SECONDS = float(os.environ.get("KINESIS_SOLVE_S", "60"))


class Foreign(Exception):
    """Nothing that is translated."""


def by(zero, then):
    """A division of the EVM: by zero it makes zero."""
    return lambda one, other: z3.If(other == zero(other), zero(other), then(one, other))


def nothing(term):
    return z3.BitVecVal(0, term.size())


# What halmos asks about at first without saying what it is.
MEANT = {
    "f_evm_bvmul": lambda one, other: one * other,
    "f_evm_bvudiv": by(nothing, z3.UDiv),
    "f_evm_bvurem": by(nothing, z3.URem),
}


class Plain:
    """The same question without what compilers and halmos make of a choice: the least of two is
    `b ^ (a ^ b) * (a < b)` in OpenZeppelin's `Math`, and a mask in slices after that."""

    def __init__(self):
        self.known = {}

    def of(self, term):
        key = term.get_id()
        if key not in self.known:
            self.known[key] = (self._of(term), term)
        return self.known[key][0]

    def _of(self, term):
        args = [self.of(child) for child in term.children()]
        if not args:
            return term
        meant = MEANT.get(term.decl().name().rpartition("_")[0])
        if meant:
            return self.of(meant(*args))
        kind = term.decl().kind()
        if kind == z3.Z3_OP_ITE:
            # Of divisions by a number, whether it is zero.
            condition = z3.simplify(args[0])
            if z3.is_true(condition) or z3.is_false(condition):
                return args[1 if z3.is_true(condition) else 2]
        if kind == z3.Z3_OP_BMUL:
            for place, choice in enumerate(args):
                if not chosen(choice) or not all(z3.is_bv_value(one) for one in choice.children()[1:]):
                    continue
                rest = product(args[:place] + args[place + 1 :], term.size())
                return choose(choice, lambda one: rest * one)
        if kind == z3.Z3_OP_EXTRACT:
            upper, lower = term.params()
            return self.slice(upper, lower, args[0])
        if kind == z3.Z3_OP_BXOR:
            return self.xor(args, term.size())
        return term.decl()(*args) if len(args) == term.decl().arity() else rebuilt(term, args)

    def slice(self, upper, lower, term):
        if chosen(term):
            return choose(term, lambda one: self.slice(upper, lower, one))
        if term.decl().kind() == z3.Z3_OP_BXOR:
            parts = [self.slice(upper, lower, one) for one in term.children()]
            return self.xor(parts, upper - lower + 1)
        if term.decl().kind() == z3.Z3_OP_CONCAT:
            # The parts that the slice goes through, from the left.
            found, end = [], term.size()
            for part in term.children():
                start, end = end - part.size(), end - part.size()
                top = start + part.size() - 1
                if top < lower or start > upper:
                    continue
                found.append(self.slice(min(top, upper) - start, max(start, lower) - start, part))
            return found[0] if len(found) == 1 else z3.Concat(*found)
        if upper == term.size() - 1 and lower == 0:
            return term
        return z3.simplify(z3.Extract(upper, lower, term))

    def xor(self, args, size):
        flat = []
        for one in args:
            flat += one.children() if one.decl().kind() == z3.Z3_OP_BXOR else [one]
        left = []
        for one in flat:
            same = next((place for place, other in enumerate(left) if other.eq(one)), None)
            if same is not None:
                left.pop(same)
            elif not (z3.is_bv_value(one) and one.as_long() == 0):
                left.append(one)
        if not left:
            return z3.BitVecVal(0, size)
        if len(left) == 1:
            return left[0]
        for place, choice in enumerate(left):
            if chosen(choice):
                rest = left[:place] + left[place + 1 :]
                return choose(choice, lambda one: self.xor([*rest, one], size))
        result = left[0]
        for one in left[1:]:
            result = result ^ one
        return result


def chosen(term):
    return term.decl().kind() == z3.Z3_OP_ITE


def choose(choice, then):
    condition, one, other = choice.children()
    return z3.If(condition, z3.simplify(then(one)), z3.simplify(then(other)))


def product(factors, size):
    result = z3.BitVecVal(1, size)
    for factor in factors:
        result = result * factor
    return z3.simplify(result)


def rebuilt(term, args):
    """What takes more arguments than its declaration says: sums, products, conjunctions."""
    return z3.substitute(term, *[(old, new) for old, new in zip(term.children(), args) if not old.eq(new)])


class Translation:
    """Words as integers. A word is an expression with the least and the most it can be."""

    def __init__(self):
        self.words = {}
        self.truths = {}
        self.variables = {}
        self.facts = []
        self.fresh = 0

    def new(self, least, most):
        self.fresh += 1
        integer = z3.Int(f"k!{self.fresh}")
        self.facts += [integer >= least, integer <= most]
        return integer, least, most

    def word(self, term):
        key = term.get_id()
        if key not in self.words:
            # The term is kept beside, or its number could be given to another.
            self.words[key] = (self._word(term), term)
        return self.words[key][0]

    def _word(self, term):
        if not z3.is_bv(term):
            raise Foreign(term.sort())
        size, kind, args = term.size(), term.decl().kind(), term.children()
        whole = 1 << size
        if z3.is_bv_value(term):
            value = term.as_long()
            return z3.IntVal(value), value, value
        if kind == z3.Z3_OP_UNINTERPRETED and not args:
            found = self.new(0, whole - 1)
            self.variables[term.decl().name()] = (term, found[0])
            return found
        if kind == z3.Z3_OP_CONCAT:
            total, least, most = z3.IntVal(0), 0, 0
            for part in args:
                value, low, high = self.word(part)
                shift = 1 << part.size()
                total, least, most = total * shift + value, least * shift + low, most * shift + high
            return z3.simplify(total), least, most
        if kind == z3.Z3_OP_EXTRACT:
            upper, lower = term.params()
            shifted = self.quotient(self.word(args[0]), 1 << lower)[0]
            return self.quotient(shifted, 1 << (upper - lower + 1))[1]
        if kind == z3.Z3_OP_ZERO_EXT:
            return self.word(args[0])
        if kind == z3.Z3_OP_SIGN_EXT:
            value, least, most = self.word(args[0])
            if most < 1 << (args[0].size() - 1):
                return value, least, most
            raise Foreign("a sign")
        if kind in (z3.Z3_OP_BADD, z3.Z3_OP_BSUB, z3.Z3_OP_BNEG):
            return self.sum(term, whole)
        if kind == z3.Z3_OP_BMUL:
            value, least, most = z3.IntVal(1), 1, 1
            for part in args:
                factor, low, high = self.word(part)
                value, least, most = value * factor, least * low, most * high
            return self.wrapped((value, least, most), whole)
        if kind in (z3.Z3_OP_BUDIV, z3.Z3_OP_BUDIV_I, z3.Z3_OP_BUREM, z3.Z3_OP_BUREM_I):
            return self.divided(args, kind in (z3.Z3_OP_BUREM, z3.Z3_OP_BUREM_I), whole - 1)
        if kind == z3.Z3_OP_ITE:
            condition = self.truth(args[0])
            one, other = self.word(args[1]), self.word(args[2])
            value = z3.If(condition, one[0], other[0])
            return value, min(one[1], other[1]), max(one[2], other[2])
        if kind == z3.Z3_OP_BNOT:
            value, least, most = self.word(args[0])
            return whole - 1 - value, whole - 1 - most, whole - 1 - least
        if kind in (z3.Z3_OP_BSHL, z3.Z3_OP_BLSHR) and z3.is_bv_value(args[1]):
            value, least, most = self.word(args[0])
            shift = 1 << min(args[1].as_long(), size)
            if kind == z3.Z3_OP_BLSHR:
                return self.quotient((value, least, most), shift)[0]
            return self.wrapped((value * shift, least * shift, most * shift), whole)
        if kind == z3.Z3_OP_BAND and len(args) == 2:
            for mask, other in (args, args[::-1]):
                if z3.is_bv_value(mask) and (mask.as_long() & (mask.as_long() + 1)) == 0:
                    return self.quotient(self.word(other), mask.as_long() + 1)[1]
        raise Foreign(term.decl())

    def sum(self, term, whole):
        """Everything is added up before it is cut to a word: a subtraction is what is written as one."""
        total, least, most = z3.IntVal(0), 0, 0
        left = [(term, 1)]
        while left:
            part, sign = left.pop()
            kind, args = part.decl().kind(), part.children()
            if kind == z3.Z3_OP_BADD:
                left += [(one, sign) for one in args]
                continue
            if kind == z3.Z3_OP_BSUB:
                left += [(one, -sign if place else sign) for place, one in enumerate(args)]
                continue
            if kind == z3.Z3_OP_BNEG:
                left.append((args[0], -sign))
                continue
            factor = sign
            if kind == z3.Z3_OP_BMUL and len(args) == 2 and z3.is_bv_value(args[0]):
                if args[0].as_long() >= whole // 2:
                    factor = sign * (args[0].as_long() - whole)
                    part = args[1]
            value, low, high = self.word(part)
            total = total + factor * value
            bounds = (factor * low, factor * high)
            least, most = least + min(bounds), most + max(bounds)
        return self.wrapped((total, least, most), whole)

    def wrapped(self, word, whole):
        """What is left of a result in a word."""
        value, least, most = word
        fewest, highest = least // whole, most // whole
        if fewest == highest:
            shift = fewest * whole
            return (value, least, most) if shift == 0 else (value - shift, least - shift, most - shift)
        times, _, _ = self.new(fewest, highest)
        rest = self.new(0, whole - 1)
        self.facts.append(value == times * whole + rest[0])
        return rest

    def quotient(self, word, by):
        """Quotient and remainder of a division by a number above zero."""
        value, least, most = word
        if most < by:
            return (z3.IntVal(0), 0, 0), word
        if by == 1:
            return word, (z3.IntVal(0), 0, 0)
        quotient = self.new(least // by, most // by)
        rest = self.new(0, by - 1)
        self.facts.append(value == quotient[0] * by + rest[0])
        return quotient, rest

    def divided(self, args, remainder, by_zero):
        """A division of unknowns; by zero, the quotient is what is said, the remainder is all of it."""
        (value, least, most), (by, low, high) = (self.word(part) for part in args)
        if low == high and low > 0:
            return self.quotient((value, least, most), low)[1 if remainder else 0]
        quotient, rest = self.new(0, most // max(low, 1)), self.new(0, max(most, 0))
        self.facts.append(
            z3.Implies(
                by > 0, z3.And(value == quotient[0] * by + rest[0], rest[0] < by, rest[0] <= value)
            )
        )
        found = rest if remainder else quotient
        if low == 0:
            otherwise = (value, least, most) if remainder else (z3.IntVal(by_zero), by_zero, by_zero)
            return (
                z3.If(by == 0, otherwise[0], found[0]),
                min(otherwise[1], found[1]),
                max(otherwise[2], found[2]),
            )
        return found

    def truth(self, term):
        key = term.get_id()
        if key not in self.truths:
            self.truths[key] = (self._truth(term), term)
        return self.truths[key][0]

    def _truth(self, term):
        kind, args = term.decl().kind(), term.children()
        if z3.is_true(term) or z3.is_false(term):
            return term
        logic = {
            z3.Z3_OP_AND: z3.And,
            z3.Z3_OP_OR: z3.Or,
            z3.Z3_OP_NOT: z3.Not,
            z3.Z3_OP_IMPLIES: z3.Implies,
            z3.Z3_OP_XOR: z3.Xor,
        }
        if kind in logic:
            return logic[kind](*(self.truth(part) for part in args))
        if kind == z3.Z3_OP_ITE:
            return z3.If(*(self.truth(part) for part in args))
        if kind in (z3.Z3_OP_EQ, z3.Z3_OP_IFF, z3.Z3_OP_DISTINCT) and len(args) == 2:
            if z3.is_bool(args[0]):
                same = self.truth(args[0]) == self.truth(args[1])
            else:
                same = self.word(args[0])[0] == self.word(args[1])[0]
            return z3.Not(same) if kind == z3.Z3_OP_DISTINCT else same
        order = {
            z3.Z3_OP_ULEQ: lambda one, other: one <= other,
            z3.Z3_OP_ULT: lambda one, other: one < other,
            z3.Z3_OP_UGEQ: lambda one, other: one >= other,
            z3.Z3_OP_UGT: lambda one, other: one > other,
        }
        signed = {
            z3.Z3_OP_SLEQ: z3.Z3_OP_ULEQ,
            z3.Z3_OP_SLT: z3.Z3_OP_ULT,
            z3.Z3_OP_SGEQ: z3.Z3_OP_UGEQ,
            z3.Z3_OP_SGT: z3.Z3_OP_UGT,
        }
        if kind in order or kind in signed:
            one, other = (self.word(part) for part in args)
            if kind in signed:
                half = 1 << (args[0].size() - 1)
                one, other = (
                    word[0] if word[2] < half else z3.If(word[0] < half, word[0], word[0] - 2 * half)
                    for word in (one, other)
                )
                return order[signed[kind]](one, other)
            return order[kind](one[0], other[0])
        raise Foreign(term.decl())


def linear(expression, known):
    """Whether no unknowns are multiplied."""
    key = expression.get_id()
    if key not in known:
        factors = expression.children() if z3.is_mul(expression) else []
        unknown = sum(1 for factor in factors if not z3.is_int_value(z3.simplify(factor)))
        known[key] = unknown < 2 and all(linear(child, known) for child in expression.children())
    return known[key]


def by_cvc5(solver, seconds):
    """What the other solver says of the same."""
    other = cvc5.Solver()
    other.setOption("tlimit-per", str(int(seconds * 1_000)))
    other.setOption("nl-ext-tplanes", "true")
    parser = cvc5.InputParser(other)
    text = "(set-logic QF_UFNIA)\n" + solver.to_smt2()
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "question")
    symbols = parser.getSymbolManager()
    said = ""
    try:
        while not (command := parser.nextCommand()).isNull():
            said += str(command.invoke(other, symbols))
    except RuntimeError:
        # z3 wrote down what only z3 knows.
        return False
    return said.strip().startswith("unsat")


def answer(question):
    translation, plain = Translation(), Plain()
    truths = []
    for assertion in question:
        try:
            truths.append(translation.truth(plain.of(assertion)))
        except Foreign as what:
            if os.environ.get("KINESIS_SOLVE_DEBUG"):
                print(f"left out: {what}", file=sys.stderr)
    everything = translation.facts + truths
    # What unknowns are multiplied in is mostly beside the point: first without it.
    known = {}
    few = [truth for truth in everything if linear(truth, known)]
    for part, seconds in ((few, SECONDS / 4), (everything, SECONDS / 2)):
        solver = z3.Solver()
        solver.set("timeout", int(seconds * 1_000))
        solver.add(part)
        found = solver.check()
        if found == z3.unsat:
            return "unsat"
        if found == z3.sat and part is everything:
            model = solver.model()
            tried = z3.Solver()
            tried.set("timeout", int(SECONDS * 250))
            tried.add(list(question))
            for term, integer in translation.variables.values():
                tried.add(term == model.eval(integer, model_completion=True).as_long())
            return f"sat\n{tried.model().sexpr()}" if tried.check() == z3.sat else "unknown"
    return "unsat" if by_cvc5(solver, SECONDS / 4) else "unknown"


if __name__ == "__main__":
    print(answer(z3.parse_smt2_file(sys.argv[-1])))
