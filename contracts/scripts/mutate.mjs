// Mutation testing: changes one thing in the contracts at a time and asks whether a test notices.
// Usage: node scripts/mutate.mjs NAME|all [how many of each] [seed]
//
// All mutants of a contract are compiled once, into a copy: every place that is changed asks which
// mutant is on, and the block's base fee says so, which the contracts do not read otherwise. Prints the
// mutants that survive as they are found, and the score by name. What is written in assembly is not
// changed. FORGE names another forge than that of node_modules.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const solc = createRequire(import.meta.url)("solc");
const libraries = (...names) => names.map((name) => `src/libraries/${name}.sol`);

/** What is changed, and the tests that are to notice. */
const suites = {
  Payouts: [libraries("Payouts"), "test/proofs/*"],
  Slashes: [libraries("Slashes"), "test/proofs/*"],
  PriceHistory: [libraries("PriceHistory"), "test/exchange/*"],
  PaymentEscrow: [["src/PaymentEscrow.sol", ...libraries("Liens", "Redemptions")], "test/escrow/*"],
  StakePool: [["src/StakePool.sol"], "test/pool/*"],
  Registry: [["src/Registry.sol", "src/registry/Lending.sol", ...libraries("Loans")], "test/registry/*"],
  Exchange: [["src/Exchange.sol"], "test/exchange/*"],
  Disputes: [["src/Disputes.sol", ...libraries("DisputeTerms")], "test/disputes/*"],
  Audits: [["src/Audits.sol", ...libraries("AuditTerms", "Draws", "Verdicts")], "test/audits/*"],
  Leases: [["src/Leases.sol"], "test/leases/*"],
};

const [name, count = "20", seed = "1"] = process.argv.slice(2);
if (name !== "all" && !suites[name]) {
  console.error(`usage: node scripts/mutate.mjs all|${Object.keys(suites).join("|")} [COUNT] [SEED]`);
  process.exit(2);
}

const swapped = {
  "+": "-", "-": "+", "*": "/", "/": "*", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
  "==": "!=", "!=": "==", "&&": "||", "||": "&&", "+=": "-=", "-=": "+=",
};

const copy = mkdtempSync(join(tmpdir(), "mutants-"));
process.on("exit", () => rmSync(copy, { recursive: true, force: true }));
process.on("SIGINT", () => process.exit(130));
process.on("SIGTERM", () => process.exit(143));
for (const part of ["src", "test", "scripts", "foundry.toml", "package.json"]) {
  cpSync(join(root, part), join(copy, part), { recursive: true });
}
symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
// The pointer makes a function that looks at the block one that a pure function may call.
writeFileSync(
  join(copy, "src/libraries/Mutants.sol"),
  `// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;
library Mutants {
    function on(uint256 which) internal pure returns (bool) {
        function(uint256) view returns (bool) seeing = _on;
        function(uint256) pure returns (bool) blind;
        assembly { blind := seeing }
        return blind(which);
    }
    function _on(uint256 which) private view returns (bool) { return block.basefee == which; }
}
`,
);

/** Everything in a source that can be changed, from its syntax tree. */
function placesOf(source, tree) {
  const text = readFileSync(join(root, source));
  const places = [];
  const range = (node) => {
    const [start, length] = node.src.split(":").map(Number);
    return [start, start + length];
  };
  const add = (kind, node, more = {}) => {
    const [start, end] = more.range ?? range(node);
    const line = text.subarray(0, start).toString().split("\n").length;
    places.push({ source, kind, start, end, line, ...more });
  };
  const visit = (node, parent, inside) => {
    if (node === null || typeof node !== "object") return;
    if (Array.isArray(node)) return node.forEach((child) => visit(child, parent, inside));
    if (node.nodeType === "InlineAssembly") return;
    const within = inside || ["FunctionDefinition", "ModifierDefinition"].includes(node.nodeType);
    if (within) {
      if (node.nodeType === "BinaryOperation" && swapped[node.operator]) {
        const constant = node.typeDescriptions.typeIdentifier.startsWith("t_rational");
        const [left, right] = [range(node.leftExpression), range(node.rightExpression)];
        if (!constant) add("operator", node, { left, right, operator: node.operator });
      }
      if (node.nodeType === "IfStatement") add("condition", node.condition);
      if (node.nodeType === "ExpressionStatement") {
        const [start, end] = range(node);
        const whole = [start, text.indexOf(";", end - 1) + 1];
        const operator = node.expression.operator;
        const loops = parent?.nodeType === "ForStatement" && node !== parent.body;
        const alone = !loops && (parent?.nodeType !== "IfStatement" || !parent.falseBody);
        if (alone) add("statement", node, { range: whole });
        if (alone && swapped[operator] && node.expression.nodeType === "Assignment") {
          const side = range(node.expression.leftHandSide);
          add("assignment", node, { range: whole, operator, left: side });
        }
      }
      if (node.nodeType === "FunctionCall") {
        const called = text.subarray(...range(node.expression)).toString();
        if (called === "Math.min" || called === "Math.max") {
          const other = called === "Math.min" ? "Math.max" : "Math.min";
          add("call", node, { callee: range(node.expression), other });
        }
      }
      if (node.nodeType === "ModifierInvocation" && node.modifierName.name === "onlyOwner") {
        add("owner", node);
      }
    }
    for (const [key, child] of Object.entries(node)) {
      if (key !== "documentation") visit(child, node.nodeType ? node : parent, within);
    }
  };
  visit(tree, undefined, false);
  return places;
}

/** A source with the mutants that were chosen of it in it. */
function rendered(source, chosen) {
  const text = readFileSync(join(root, source));
  const all = chosen.filter((place) => place.source === source);
  const wide = (one, other) => one.start - other.start || other.end - one.end || one.order - other.order;
  const order = { statement: 0, assignment: 1, condition: 2, operator: 3, call: 3, owner: 3 };
  for (const place of all) place.order = order[place.kind];
  all.sort(wide);
  const render = (start, end, left) => {
    let [out, at] = ["", start];
    while (true) {
      const next = left.find((place) => place.start >= at && place.end <= end);
      if (!next) return out + text.subarray(at, end).toString();
      out += text.subarray(at, next.start).toString();
      const rest = left.slice(left.indexOf(next) + 1);
      const inner = (from, to) => render(from, to, rest);
      const on = `Mutants.on(${next.id})`;
      if (next.kind === "operator") {
        const [one, other] = [inner(...next.left), inner(...next.right)];
        out += `(${on} ? (${one} ${swapped[next.operator]} ${other}) : (${one} ${next.operator} ${other}))`;
      } else if (next.kind === "condition") {
        out += `!${on} && (${inner(next.start, next.end)})`;
      } else if (next.kind === "statement") {
        out += `if (!${on}) { ${inner(next.start, next.end)} }`;
      } else if (next.kind === "assignment") {
        const whole = inner(next.start, next.end);
        const length = text.subarray(next.start, next.left[1]).toString().length;
        const other = whole.slice(0, length) + whole.slice(length).replace(next.operator, swapped[next.operator]);
        out += `if (${on}) { ${other} } else { ${whole} }`;
      } else if (next.kind === "call") {
        const args = inner(next.callee[1], next.end);
        const callee = text.subarray(...next.callee).toString();
        out += `(${on} ? ${next.other}${args} : ${callee}${args})`;
      } else {
        out += `onlyOwnerUnless(${next.id})`;
      }
      at = next.end;
    }
  };
  let result = render(0, text.length, all);
  const path = relative(dirname(source), "src/libraries/Mutants.sol");
  const from = path.startsWith(".") ? path : `./${path}`;
  result = result.replace(/^pragma [^;]*;$/m, (pragma) => `${pragma}\nimport {Mutants} from "${from}";`);
  if (all.some(({ kind }) => kind === "owner")) {
    const modifier = "modifier onlyOwnerUnless(uint256 which) { if (!Mutants.on(which)) _checkOwner(); _; }";
    result = result.replace(/^(contract \w+ is[^{]*\{)$/m, (head) => `${head}\n    ${modifier}\n`);
  }
  return result;
}

function treesOf() {
  const sources = {};
  for (const folder of ["src", "src/libraries", "src/registry"]) {
    for (const file of readdirSync(join(root, folder))) {
      if (!file.endsWith(".sol")) continue;
      sources[`${folder}/${file}`] = { content: readFileSync(join(root, folder, file), "utf8") };
    }
  }
  const settings = {
    evmVersion: "cancun",
    remappings: ["@openzeppelin/=node_modules/@openzeppelin/"],
    outputSelection: { "*": { "": ["ast"] } },
  };
  const read = (path) => ({ contents: readFileSync(join(root, path), "utf8") });
  const input = JSON.stringify({ language: "Solidity", sources, settings });
  return JSON.parse(solc.compile(input, { import: read })).sources;
}

/** A sample that a seed repeats. */
function sampleOf(places) {
  let state = BigInt(seed) * 0x9e3779b97f4a7c15n + 1n;
  const random = (below) => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
    return Number((state >> 33n) % BigInt(below));
  };
  const left = [...places];
  const chosen = [];
  while (left.length > 0 && chosen.length < Number(count)) chosen.push(...left.splice(random(left.length), 1));
  chosen.forEach((place, index) => (place.id = index + 1));
  return chosen;
}

function forge(tests, mutant) {
  const command = process.env.FORGE ?? join(root, "node_modules/.bin/forge");
  const fee = ["--block-base-fee-per-gas", String(mutant)];
  return spawnSync(command, ["test", "--match-path", tests, "--fail-fast", ...fee], {
    cwd: copy,
    encoding: "utf8",
    env: {
      ...process.env,
      FOUNDRY_OPTIMIZER: "false",
      FOUNDRY_CODE_SIZE_LIMIT: "1000000",
      FOUNDRY_FUZZ_RUNS: "32",
      FOUNDRY_FUZZ_SEED: "0x1",
    },
    maxBuffer: 1 << 28,
  });
}

const trees = treesOf();
for (const [title, [sources, tests]] of Object.entries(suites)) {
  if (name !== "all" && name !== title) continue;
  const places = sources.flatMap((source) => placesOf(source, trees[source].ast));
  const chosen = sampleOf(places);
  for (const source of sources) writeFileSync(join(copy, source), rendered(source, chosen));
  const before = forge(tests, 0);
  if (before.status !== 0) {
    console.error(`${title}: the tests fail without a mutant:\n${before.stdout}${before.stderr}`);
    process.exit(1);
  }
  let killed = 0;
  for (const { id, source, line, kind, operator } of chosen) {
    if (forge(tests, id).status !== 0) {
      ++killed;
      continue;
    }
    const whole = readFileSync(join(root, source), "utf8").split("\n")[line - 1].trim();
    const how = operator ? `${operator} is ${swapped[operator]}` : `without the ${kind}`;
    console.log(`${source}:${line}: ${whole}  (${kind === "call" ? "the other of min and max" : how})`);
  }
  for (const source of sources) cpSync(join(root, source), join(copy, source));
  const score = Number((killed / chosen.length).toFixed(3));
  console.log(JSON.stringify({ name: title, places: places.length, tried: chosen.length, killed, score }));
}
