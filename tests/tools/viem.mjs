// viem against the chain: node viem.mjs RPC_URL
import assert from "node:assert/strict";
import {
  ContractFunctionRevertedError,
  BaseError,
  createPublicClient,
  createWalletClient,
  getContract,
  http,
  parseEther,
  toHex,
  webSocket,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { foundry } from "viem/chains";
import { counter, soon } from "./compile.mjs";

const url = process.argv[2];
const chain = foundry;
const account = privateKeyToAccount(process.env.KEY);
const client = createPublicClient({ chain, transport: http(url, { batch: true }), pollingInterval: 50 });
const wallet = createWalletClient({ account, chain, transport: http(url) });
const { abi, bytecode } = counter();

const hash = await wallet.deployContract({ abi, bytecode, args: [7n] });
const { contractAddress: address } = await client.waitForTransactionReceipt({ hash });
const contract = getContract({ address, abi, client: { public: client, wallet } });
assert.equal(await contract.read.total(), 7n);

// Subscriptions over a WebSocket; a filter that is polled.
const live = createPublicClient({ chain, transport: webSocket(url.replace("http", "ws")) });
const seen = new Promise((resolve, reject) => {
  live.watchContractEvent({ address, abi, eventName: "Added", onLogs: (logs) => resolve(logs[0]), onError: reject });
});
const head = new Promise((resolve, reject) => live.watchBlocks({ onBlock: resolve, onError: reject }));
const pending = new Promise((resolve, reject) => {
  live.watchPendingTransactions({ onTransactions: (hashes) => resolve(hashes[0]), onError: reject });
});
await live.getBlockNumber();
await new Promise((resolve) => setTimeout(resolve, 300));
const filter = await client.createContractEventFilter({ address, abi, eventName: "Added" });
const blocks = await client.createBlockFilter();
const added = await contract.write.add([5n]);
const receipt = await client.waitForTransactionReceipt({ hash: added });
assert.equal(receipt.status, "success");
assert.equal((await soon(seen, "a log")).args.total, 12n);
assert.equal((await soon(head, "a head")).number, receipt.blockNumber);
assert.equal(await soon(pending, "a pending transaction"), added);
assert.deepEqual((await client.getFilterChanges({ filter })).map((log) => log.args.value), [5n]);
assert.deepEqual(await client.getFilterChanges({ filter }), []);
assert.deepEqual(await client.getFilterChanges({ filter: blocks }), [receipt.blockHash]);
assert.ok(await client.uninstallFilter({ filter }));
(await live.transport.getRpcClient()).close();

// Reverts carry the contract's own error.
await assert.rejects(client.simulateContract({ account, address, abi, functionName: "add", args: [101n] }), (error) => {
  assert.ok(error instanceof BaseError);
  const revert = error.walk((cause) => cause instanceof ContractFunctionRevertedError);
  assert.equal(revert.data.errorName, "TooMuch");
  assert.deepEqual(revert.data.args, [101n, 100n]);
  return true;
});

// What a call may pretend.
const stateOverride = [{ address, stateDiff: [{ slot: toHex(0, { size: 32 }), value: toHex(41, { size: 32 }) }] }];
assert.equal(await client.readContract({ address, abi, functionName: "total", stateOverride }), 41n);
const blockOverrides = { number: 77n, time: 99n };
const seenBlock = await client.readContract({ address, abi, functionName: "seen", blockOverrides });
assert.deepEqual(seenBlock, [77n, 99n]);
const rich = [{ address: "0x00000000000000000000000000000000000000aa", balance: parseEther("5") }];
const transfer = { account: rich[0].address, to: address, value: 0n, data: "0x2ddbd13a", stateOverride: rich };
assert.ok((await client.estimateGas(transfer)) > 21_000n);

// The past, fees, access lists.
const blockNumber = receipt.blockNumber - 1n;
assert.equal(await client.readContract({ address, abi, functionName: "total", blockNumber }), 7n);
assert.equal((await client.getFeeHistory({ blockCount: 2, rewardPercentiles: [10, 50] })).baseFeePerGas.length, 3);
assert.ok((await client.estimateFeesPerGas()).maxFeePerGas > 0n);
const { accessList } = await client.createAccessList({ account, to: address, data: "0x2ddbd13a" });
assert.equal(accessList[0].address, address.toLowerCase());
assert.deepEqual(accessList[0].storageKeys, [toHex(0, { size: 32 })]);
assert.equal(await client.getStorageAt({ address, slot: "0x0" }), toHex(12, { size: 32 }));
const logs = await client.getContractEvents({ address, abi, eventName: "Added", fromBlock: 0n });
assert.equal(logs.length, 1);
console.log("viem is content");
