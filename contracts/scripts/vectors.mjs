// Checks test/vectors.json with code that shares nothing with ours: ethers for what is signed,
// OpenZeppelin's merkle-tree for what is proven. Usage: npm run vectors
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { SimpleMerkleTree } from "@openzeppelin/merkle-tree";
import {
  TypedDataEncoder,
  hexlify,
  keccak256,
  recoverAddress,
  solidityPackedKeccak256,
} from "ethers";

const here = dirname(fileURLToPath(import.meta.url));
const all = JSON.parse(readFileSync(join(here, "..", "test", "vectors.json"), "utf8"));
let wrong = 0;
let checked = 0;

function same(what, got, expected) {
  checked += 1;
  if (String(got).toLowerCase() !== String(expected).toLowerCase()) {
    wrong += 1;
    console.error(`${what}: ${got}, expected ${expected}`);
  }
}

for (const [kind, { type, members, domain, vectors }] of Object.entries(all.structs)) {
  const fields = members.split(",").map((member) => {
    const [of, name] = member.split(" ");
    return { name, type: of };
  });
  vectors.forEach(({ chainId, message, digest, signature }, i) => {
    const where = { ...domain, chainId: BigInt(chainId) };
    same(`${kind} ${i}`, TypedDataEncoder.hash(where, { [type]: fields }, message), digest);
    same(`${kind} ${i}, signer`, recoverAddress(digest, signature), all.signer);
  });
}

for (const [i, tree] of all.trees.entries()) {
  for (const { supplier, cumulative, leaf, proof } of tree.leaves) {
    const hashed = solidityPackedKeccak256(["address", "uint96"], [supplier, cumulative]);
    same(`tree ${i}, leaf of ${supplier}`, hashed, leaf);
    same(`tree ${i}, proof of ${supplier}`, SimpleMerkleTree.verify(tree.root, leaf, proof), true);
    const more = solidityPackedKeccak256(["address", "uint96"], [supplier, BigInt(cumulative) - 1n]);
    same(`tree ${i}, another amount`, SimpleMerkleTree.verify(tree.root, more, proof), false);
  }
  for (const [j, { leaves, claims, proof, flags, bits }] of tree.many.entries()) {
    const many = { leaves, proof, proofFlags: flags };
    same(`tree ${i}, proof ${j} of many`, SimpleMerkleTree.verifyMultiProof(tree.root, many), true);
    same(`tree ${i}, its claims ${j}`, claims.map((claim) => keccak256(claim)), leaves);
    const packed = flags.map((flag) => (flag ? "1" : "0")).join("");
    const bytes = (packed.match(/.{1,8}/g) ?? []).map((eight) => parseInt(eight.padEnd(8, "0"), 2));
    same(`tree ${i}, its bits ${j}`, hexlify(new Uint8Array(bytes)), bits);
    const swapped = { ...many, leaves: [...leaves.slice(1), `0x${"00".repeat(32)}`] };
    same(
      `tree ${i}, another leaf ${j}`,
      SimpleMerkleTree.verifyMultiProof(tree.root, swapped),
      false,
    );
  }
  const total = tree.leaves.reduce((sum, { cumulative }) => sum + BigInt(cumulative), 0n);
  same(`tree ${i}, total`, total, tree.total);
}

if (checked < 200) {
  console.error(`only ${checked} checks: the file is cut short`);
  wrong += 1;
}
console.log(`${checked} checks, ${wrong} wrong`);
process.exit(wrong ? 1 : 0);
