const assert = require("node:assert/strict");
const { ethers, network } = require("hardhat");

describe("Counter", () => {
  let counter;
  let snapshot;

  before(async () => {
    counter = await ethers.deployContract("Counter", [7]);
    await counter.waitForDeployment();
  });

  beforeEach(async () => {
    snapshot = await network.provider.send("evm_snapshot");
  });

  afterEach(async () => {
    assert.equal(await network.provider.send("evm_revert", [snapshot]), true);
    assert.equal(await counter.total(), 7n);
  });

  it("adds", async () => {
    const [signer] = await ethers.getSigners();
    const receipt = await (await counter.add(5)).wait();
    assert.equal(receipt.from, signer.address);
    assert.equal(await counter.total(), 12n);
    assert.equal(await counter.total({ blockTag: receipt.blockNumber - 1 }), 7n);
  });

  it("refuses with its own error", async () => {
    await assert.rejects(counter.add(101), (error) => {
      assert.match(`${error.message} ${JSON.stringify(error)}`, /TooMuch|execution reverted/);
      return true;
    });
  });

  it("lives in a time that tests can move", async () => {
    const [, before] = await counter.seen();
    await network.provider.send("evm_increaseTime", [3600]);
    await network.provider.send("evm_mine");
    const [, after] = await counter.seen();
    assert.ok(after >= before + 3600n);
  });
});
