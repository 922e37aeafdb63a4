// Writes, or compares, the ABI and bytecode that the Rust side embeds, so that `cargo build` needs
// no Node. Usage: node scripts/artifacts.mjs write|check (after `forge build`).
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const contracts = [
  "Joule",
  "PaymentEscrow",
  "Registry",
  "StakePool",
  "Exchange",
  "Disputes",
  "Audits",
  "Leases",
  "Treasury",
  "Grants",
  "KinesisGovernor",
  "TimelockController",
  "DevDollar",
  "UniswapV2Market",
  "ERC1967Proxy",
];
// What the gas bench measures against; not of the protocol.
const peers = ["CumulativeDrop"];
// EIP-170.
const CODE_BYTES_MAX = 24_576;
const mode = process.argv[2];
if (mode !== "write" && mode !== "check") {
  console.error("usage: node scripts/artifacts.mjs write|check");
  process.exit(2);
}

let stale = false;

// Writes a file, or compares it with the one that is committed.
function put(name, text, remark) {
  const path = join(root, "artifacts", name);
  if (mode === "write") {
    writeFileSync(path, text);
    console.log(`artifacts/${name}: ${remark}`);
    return;
  }
  let committed = "";
  try {
    committed = readFileSync(path, "utf8");
  } catch {
    // Missing is stale.
  }
  if (committed !== text) {
    stale = true;
    console.error(`artifacts/${name} is not what the sources compile to`);
  }
}

// What refusals, proposals and events are put into words by: no bytecode, a line for each contract.
const interfaces = [];
mkdirSync(join(root, "artifacts"), { recursive: true });
for (const name of [...contracts, ...peers]) {
  const built = JSON.parse(readFileSync(join(root, "out", `${name}.sol`, `${name}.json`), "utf8"));
  if (Object.keys(built.bytecode.linkReferences ?? {}).length > 0) {
    throw new Error(`${name} needs linking: the artifacts hold finished bytecode only`);
  }
  const size = (built.deployedBytecode.object.length - 2) / 2;
  if (size > CODE_BYTES_MAX) {
    throw new Error(`${name} is ${size} bytes, and no chain takes more than ${CODE_BYTES_MAX}`);
  }
  // forge deploys code of any length, a chain does not (EIP-170).
  const length = (built.deployedBytecode.object.length - 2) / 2;
  if (length > 24_576) throw new Error(`${name}: ${length} bytes of code fit no chain`);
  const artifact = { contractName: name, abi: built.abi, bytecode: built.bytecode.object };
  const bytes = (built.bytecode.object.length - 2) / 2;
  put(`${name}.json`, `${JSON.stringify(artifact, null, 1)}\n`, `${bytes} bytes of code`);
  if (peers.includes(name)) continue;
  const spoken = built.abi.filter(({ type }) => ["error", "event", "function"].includes(type));
  interfaces.push(`${JSON.stringify(name)}:${JSON.stringify(spoken)}`);
}
put("interfaces.json", `{\n${interfaces.join(",\n")}\n}\n`, "errors, events and functions of all");
if (stale) {
  console.error("run `npm run artifacts:write` and commit the result");
  process.exit(1);
}
if (mode === "check") console.log("the artifacts match the sources");
