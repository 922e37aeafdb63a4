// Writes, or compares, where every upgradeable contract keeps what: the namespaces of ERC-7201 with
// the slots of their members, its own and those it inherits. An upgrade that moves one of them would
// read the old contract's money as something else. Usage: node scripts/layouts.mjs check|write
// [--moved]; `write` refuses what moved and takes only what was added behind it, unless told.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);
const solc = require("solc");
const { keccak256 } = require("js-sha3");

const [mode, moved] = process.argv.slice(2);
if ((mode !== "write" && mode !== "check") || (moved && moved !== "--moved")) {
  console.error("usage: node scripts/layouts.mjs check|write [--moved]");
  process.exit(2);
}

const units = compile();
const nodes = new Map();
for (const unit of units) visit(unit);

let failed = false;
mkdirSync(join(root, "layouts"), { recursive: true });
for (const contract of upgradeable()) {
  const layout = layoutOf(contract);
  const path = join(root, "layouts", `${contract.name}.json`);
  const text = `${JSON.stringify(layout, null, 1)}\n`;
  let committed = "";
  try {
    committed = readFileSync(path, "utf8");
  } catch {
    // Nothing to compare with is a new contract.
  }
  if (committed === text) continue;
  const moves = committed ? movesOf(JSON.parse(committed), layout) : [];
  for (const move of moves) console.error(`${contract.name}: ${move}`);
  if (mode === "check" || (moves.length > 0 && !moved)) {
    console.error(`layouts/${contract.name}.json is not what the sources say`);
    failed = true;
  } else {
    writeFileSync(path, text);
    console.log(`layouts/${contract.name}.json`);
  }
}
if (failed) {
  console.error("`npm run layouts:write` takes what was added; see scripts/layouts.mjs for more");
  process.exit(1);
}
if (mode === "check") console.log("nothing in storage moved");

function compile() {
  const sources = {};
  for (const name of readdirSync(join(root, "src"))) {
    if (name.endsWith(".sol")) {
      sources[`src/${name}`] = { content: readFileSync(join(root, "src", name), "utf8") };
    }
  }
  const input = {
    language: "Solidity",
    sources,
    settings: {
      evmVersion: "cancun",
      remappings: ["@openzeppelin/=node_modules/@openzeppelin/"],
      outputSelection: { "*": { "": ["ast"] } },
    },
  };
  const read = (path) => {
    try {
      return { contents: readFileSync(join(root, path), "utf8") };
    } catch (error) {
      return { error: String(error) };
    }
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read }));
  const errors = (output.errors ?? []).filter(({ severity }) => severity === "error");
  if (errors.length > 0) throw new Error(errors.map((e) => e.formattedMessage).join("\n"));
  return Object.values(output.sources).map(({ ast }) => ast);
}

function visit(node) {
  if (node === null || typeof node !== "object") return;
  if (typeof node.id === "number" && node.nodeType) nodes.set(node.id, node);
  for (const child of Object.values(node)) visit(child);
}

// The contracts of src/ that stand behind a proxy.
function upgradeable() {
  return units
    .filter(({ absolutePath }) => absolutePath.startsWith("src/"))
    .flatMap((unit) => unit.nodes)
    .filter((node) => node.nodeType === "ContractDefinition" && !node.abstract)
    .filter((node) => bases(node).some(({ name }) => name === "UUPSUpgradeable"))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function bases(contract) {
  return contract.linearizedBaseContracts.map((id) => nodes.get(id));
}

function layoutOf(contract) {
  const namespaces = {};
  const types = {};
  for (const base of bases(contract)) {
    for (const node of base.nodes) {
      const mutable = node.mutability !== "constant" && node.mutability !== "immutable";
      if (node.nodeType === "VariableDeclaration" && node.stateVariable && mutable) {
        throw new Error(`${contract.name}: ${base.name}.${node.name} is in no namespace`);
      }
      const found = /@custom:storage-location erc7201:(\S+)/.exec(node.documentation?.text ?? "");
      if (node.nodeType !== "StructDefinition" || !found) continue;
      const slot = locationOf(found[1]);
      if (!JSON.stringify(base).includes(slot)) {
        throw new Error(`${base.name}: ${found[1]} is not where ERC-7201 puts it (${slot})`);
      }
      namespaces[found[1]] = { slot, members: membersOf(node, types) };
    }
  }
  return { namespaces, types };
}

// keccak256(keccak256(name) - 1) without its last byte.
function locationOf(name) {
  const inner = BigInt(`0x${keccak256(name)}`) - 1n;
  const bytes = Buffer.from(inner.toString(16).padStart(64, "0"), "hex");
  return `0x${keccak256(bytes).slice(0, 62)}00`;
}

// As the compiler places them: side by side from the right while they fit, and what takes slots of its
// own on a new one.
function membersOf(struct, types) {
  let slot = 0;
  let offset = 0;
  const members = [];
  for (const member of struct.members) {
    const { bytes, slots } = sizeOf(member.typeName, types);
    if (offset > 0 && (slots > 0 || offset + bytes > 32)) {
      slot += 1;
      offset = 0;
    }
    members.push(`${slot}:${offset} ${member.name}: ${typeOf(member.typeName)}`);
    slot += slots;
    offset += bytes;
  }
  types[struct.canonicalName] ??= members;
  return members;
}

function typeOf(type) {
  return type.typeDescriptions.typeString;
}

// What a value takes: bytes of a shared slot, or whole slots. Notes the structs it leads to.
function sizeOf(type, types) {
  if (type.nodeType === "Mapping") {
    sizeOf(type.valueType, types);
    return { bytes: 0, slots: 1 };
  }
  if (type.nodeType === "ArrayTypeName") {
    const { bytes, slots } = sizeOf(type.baseType, types);
    if (!type.length) return { bytes: 0, slots: 1 };
    const length = Number(/\[(\d+)\][^[]*$/.exec(typeOf(type))[1]);
    const each = Math.floor(32 / (bytes || 32));
    return { bytes: 0, slots: slots > 0 ? length * slots : Math.ceil(length / each) };
  }
  if (type.nodeType === "UserDefinedTypeName") {
    const named = nodes.get(type.referencedDeclaration);
    if (named.nodeType === "ContractDefinition") return { bytes: 20, slots: 0 };
    if (named.nodeType === "EnumDefinition") return { bytes: 1, slots: 0 };
    if (named.nodeType === "UserDefinedValueTypeDefinition") {
      return sizeOf(named.underlyingType, types);
    }
    const members = types[named.canonicalName] ?? membersOf(named, types);
    const size = sizeOf(named.members.at(-1).typeName, types);
    return { bytes: 0, slots: parseInt(members.at(-1), 10) + Math.max(size.slots, 1) };
  }
  const name = type.name;
  if (name === "string" || name === "bytes") return { bytes: 0, slots: 1 };
  if (name === "bool") return { bytes: 1, slots: 0 };
  if (name === "address") return { bytes: 20, slots: 0 };
  const bits = /^u?int(\d*)$/.exec(name);
  if (bits) return { bytes: Number(bits[1] || 256) / 8, slots: 0 };
  const fixed = /^bytes(\d+)$/.exec(name);
  if (fixed) return { bytes: Number(fixed[1]), slots: 0 };
  throw new Error(`how large is ${name}?`);
}

// What an upgrade from one to the other would find elsewhere, or not at all.
function movesOf(before, after) {
  const moves = [];
  const compare = (what, old, now) => {
    old.forEach((member, place) => {
      if (now?.[place] !== member) moves.push(`${what}: "${member}" is now "${now?.[place]}"`);
    });
  };
  for (const [name, { members }] of Object.entries(before.namespaces)) {
    compare(name, members, after.namespaces[name]?.members);
  }
  const everything = JSON.stringify(before);
  for (const [name, members] of Object.entries(before.types)) {
    compare(name, members, after.types[name]);
    // What stands in an array cannot even grow: the next of its kind stands behind it.
    const grew = (after.types[name]?.length ?? 0) > members.length;
    if (grew && everything.includes(`struct ${name}[`)) moves.push(`${name} grew in an array`);
  }
  return moves;
}
