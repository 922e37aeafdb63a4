// ethers v6 against the chain: node ethers.mjs RPC_URL
import assert from "node:assert/strict";
import { ContractFactory, JsonRpcProvider, NonceManager, Wallet, WebSocketProvider } from "ethers";
import { counter, soon } from "./compile.mjs";

const url = process.argv[2];
const provider = new JsonRpcProvider(url, undefined, { pollingInterval: 50, cacheTimeout: -1 });
const wallet = new Wallet(process.env.KEY, provider);
const { abi, bytecode } = counter();

assert.equal((await provider.getNetwork()).chainId, 31337n);
const contract = await new ContractFactory(abi, bytecode, wallet).deploy(7);
await contract.waitForDeployment();
assert.notEqual(await provider.getCode(contract), "0x");
assert.equal(await contract.total(), 7n);

// A filter that is polled, and one over a WebSocket.
const socket = new WebSocketProvider(url.replace("http", "ws"));
const heads = [];
await socket.on("block", (number) => heads.push(number));
const pushed = new Promise((resolve) => contract.connect(socket).once("Added", (...a) => resolve(a)));
const polled = new Promise((resolve) => contract.once("Added", (...a) => resolve(a)));
await contract.connect(socket).listenerCount("Added");
await new Promise((resolve) => setTimeout(resolve, 300));
const receipt = await (await contract.add(5)).wait();
assert.equal(receipt.status, 1);
for (const event of [await soon(polled, "a poll"), await soon(pushed, "a push")]) {
  assert.equal(event[0], wallet.address);
  assert.deepEqual(event.slice(1, 3), [5n, 12n]);
}
assert.ok(heads.includes(receipt.blockNumber) || (await soon(new Promise((resolve) => {
  const timer = setInterval(() => heads.includes(receipt.blockNumber) && (clearInterval(timer), resolve(true)), 20);
}), "a head")));
// Ethers unsubscribes without waiting; what is asked after it is answered after it.
await socket.removeAllListeners();
await socket.getBlockNumber();
await socket.destroy();

// Reverts carry the contract's own error.
await assert.rejects(contract.add.staticCall(101), (error) => {
  assert.equal(error.code, "CALL_EXCEPTION");
  assert.equal(error.revert.name, "TooMuch");
  assert.deepEqual([...error.revert.args], [101n, 100n]);
  return true;
});
await assert.rejects(contract.add.estimateGas(101), { code: "CALL_EXCEPTION" });
const failed = await contract.add(101, { gasLimit: 100_000 });
await assert.rejects(failed.wait(), (error) => error.receipt.status === 0);

// Logs, the past, fees, blocks by every tag.
const logs = await contract.queryFilter(contract.filters.Added(wallet.address), 0, "latest");
assert.equal(logs.length, 1);
assert.equal(logs[0].args.total, 12n);
assert.equal(await contract.total({ blockTag: receipt.blockNumber - 1 }), 7n);
assert.ok((await provider.getFeeData()).maxFeePerGas > 0n);
for (const tag of ["latest", "safe", "finalized", "pending", "earliest"]) {
  assert.ok((await provider.getBlock(tag)).number >= 0);
}

// Many at once, each with the next nonce.
const manager = new NonceManager(wallet);
const before = await contract.total();
const sent = await Promise.all(Array.from({ length: 10 }, () => contract.connect(manager).add(1)));
await Promise.all(sent.map((transaction) => transaction.wait()));
assert.equal(await contract.total(), before + 10n);
provider.destroy();
console.log("ethers is content");
