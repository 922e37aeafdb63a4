// Proves what test/proofs says of the arithmetic of money, with halmos, and counts. Exits with an error
// where something is refuted or has no proof. Usage: npm run proofs
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const venv = join(root, "../target/venv-solidity");
if (!existsSync(join(venv, "bin/halmos"))) {
  console.error(`halmos is not there. It comes from PyPI, into an environment of its own:
  python3 -m venv target/venv-solidity
  target/venv-solidity/bin/pip install halmos==0.3.3 cvc5==1.4.2`);
  process.exit(2);
}
const scratch = mkdtempSync(join(tmpdir(), "proofs-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));
const json = join(scratch, "results.json");
const path = [join(venv, "bin"), join(root, "node_modules/.bin"), process.env.PATH].join(delimiter);
const run = spawnSync(
  join(venv, "bin/halmos"),
  [
    ...["--forge-build-out", "../target/proofs/out", "--match-contract", "^(Payouts|Shares)Proofs$"],
    ...["--function", "check_", "--json-output", json, "--no-status"],
    ...["--solver-command", "python scripts/solve.py", "--solver-timeout-assertion", "300s"],
    ...["--solver-threads", "1"],
  ],
  {
    cwd: root,
    env: { ...process.env, FOUNDRY_PROFILE: "proofs", PATH: path },
    stdio: ["ignore", "inherit", "inherit"],
  },
);
if (!existsSync(json)) process.exit(run.status || 1);
const found = { proven: 0, refuted: 0, unknown: 0 };
for (const tests of Object.values(JSON.parse(readFileSync(json, "utf8")).test_results)) {
  // The exit codes of halmos: 0 is a pass, 1 a counterexample; all others are no answer.
  for (const { exitcode } of tests) {
    found[exitcode === 0 ? "proven" : exitcode === 1 ? "refuted" : "unknown"] += 1;
  }
}
console.log(JSON.stringify(found));
process.exit(found.proven > 0 && found.refuted + found.unknown === 0 ? 0 : 1);
