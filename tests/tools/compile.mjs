// Counter.sol through the compiler that the contracts are built with.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

export function counter() {
  const content = readFileSync(new URL("contracts/Counter.sol", import.meta.url), "utf8");
  const input = {
    language: "Solidity",
    sources: { "Counter.sol": { content } },
    settings: {
      evmVersion: "cancun",
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
    },
  };
  const solc = spawnSync(process.execPath, [process.env.SOLC, "--standard-json"], {
    input: JSON.stringify(input),
    maxBuffer: 1 << 26,
  });
  const output = JSON.parse(solc.stdout.toString());
  const { abi, evm } = output.contracts["Counter.sol"].Counter;
  return { abi, bytecode: `0x${evm.bytecode.object}` };
}

/// The promise, or an error after half a minute.
export function soon(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), 30_000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
