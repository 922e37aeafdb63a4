// Mutation testing: changes one thing in a contract at a time and asks whether a test notices.
// Usage: node scripts/mutate.mjs src/PaymentEscrow.sol 'test/escrow/*' [how many] [seed]
// Works on a copy; mutants that do not compile do not count. Prints the ones that survive, and the
// score last.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const [source, tests, count = "40", seed = "1"] = process.argv.slice(2);
if (!source || !tests) {
  console.error("usage: node scripts/mutate.mjs SOURCE TESTS [COUNT] [SEED]");
  process.exit(2);
}

/** What is changed: every match of the pattern is a place for a mutant. */
const operators = [
  [/ \+ (?!\+)/g, " - "],
  [/ - /g, " + "],
  [/ \* /g, " / "],
  [/ \/ (?!\/)/g, " * "],
  [/ < /g, " <= "],
  [/ <= /g, " < "],
  [/ > /g, " >= "],
  [/ >= /g, " > "],
  [/ == /g, " != "],
  [/ != /g, " == "],
  [/ && /g, " || "],
  [/ \|\| /g, " && "],
  [/ \+= /g, " -= "],
  [/ -= /g, " += "],
  [/ onlyOwner /g, " "],
  [/\bif \(/g, "if (false && ("],
  [/^ {8}[^\n;{}]*;$/gm, ""],
];

const text = readFileSync(join(root, source), "utf8");
const places = [];
for (const [pattern, replacement] of operators) {
  for (const match of text.matchAll(pattern)) {
    const line = text.lastIndexOf("\n", match.index) + 1;
    const whole = text.slice(line, text.indexOf("\n", match.index));
    const skipped = /^\s*(\/\/|\*|import|using|event|error|return \(|bytes32 private constant)/;
    if (skipped.test(whole) || /assembly|STORAGE_LOCATION/.test(whole)) continue;
    if (/^ {8}(emit|return|revert|[A-Za-z0-9_.]+ (storage|memory) )/.test(whole) && replacement === "")
      continue;
    const mutant = apply(match, replacement);
    if (mutant) places.push({ line: text.slice(0, match.index).split("\n").length, whole, mutant });
  }
}

function apply(match, replacement) {
  if (!replacement.startsWith("if (")) {
    return text.slice(0, match.index) + replacement + text.slice(match.index + match[0].length);
  }
  // The condition has to be closed once more where it ends.
  let depth = 1;
  let at = match.index + match[0].length;
  for (; depth > 0 && at < text.length; ++at) {
    if (text[at] === "(") ++depth;
    if (text[at] === ")") --depth;
  }
  return text.slice(0, match.index) + replacement +
    text.slice(match.index + match[0].length, at) + ")" + text.slice(at);
}

// A sample that a seed repeats.
let state = BigInt(seed) * 0x9e3779b97f4a7c15n + 1n;
const random = (below) => {
  state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
  return Number((state >> 33n) % BigInt(below));
};
const chosen = [];
const left = [...places];
while (left.length > 0 && chosen.length < Number(count)) chosen.push(...left.splice(random(left.length), 1));

const copy = mkdtempSync(join(tmpdir(), "mutants-"));
process.on("exit", () => rmSync(copy, { recursive: true, force: true }));
process.on("SIGINT", () => process.exit(130));
process.on("SIGTERM", () => process.exit(143));
for (const part of ["src", "test", "scripts", "foundry.toml", "package.json"]) {
  cpSync(join(root, part), join(copy, part), { recursive: true });
}
symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));

function forge(command) {
  return spawnSync(join(root, "node_modules/.bin/forge"), command, {
    cwd: copy,
    encoding: "utf8",
    env: { ...process.env, FOUNDRY_OPTIMIZER: "false", FOUNDRY_FUZZ_RUNS: "64", FOUNDRY_INVARIANT_RUNS: "8" },
    maxBuffer: 1 << 28,
  });
}

const test = ["test", "--match-path", tests, "--fail-fast"];
const before = forge(test);
if (before.status !== 0) {
  console.error(`the tests fail without a mutant:\n${before.stdout}${before.stderr}`);
  process.exit(1);
}
let killed = 0;
const survived = [];
for (const { line, whole, mutant } of chosen) {
  writeFileSync(join(copy, source), mutant);
  const run = forge(test);
  const output = run.stdout + run.stderr;
  if (/Compiler run failed|Compiler error/.test(output)) continue;
  if (run.status === 0) {
    const changed = mutant.split("\n")[line - 1];
    survived.push(`${source}:${line}: ${whole.trim()}  ->  ${changed.trim() || "(removed)"}`);
    console.log(survived.at(-1));
  } else {
    ++killed;
  }
}
const all = killed + survived.length;
console.log(JSON.stringify({ source, tests, places: places.length, tried: all, killed, score: Number((killed / all).toFixed(3)) }));
