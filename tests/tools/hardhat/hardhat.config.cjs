// A hardhat project as anyone would have it. The one line out of the ordinary: the compiler is the
// one that the contracts are built with, so that nothing is downloaded.
require("@nomicfoundation/hardhat-ethers");
const { execFileSync } = require("node:child_process");
const { subtask } = require("hardhat/config");
const { TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD } = require("hardhat/builtin-tasks/task-names");

const said = execFileSync(process.execPath, [process.env.SOLC, "--version"]).toString();
const [, longVersion, version] = /Version: (([0-9.]+)\+commit\.[0-9a-f]+)/.exec(said);

subtask(TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async () => ({
  version,
  longVersion,
  compilerPath: process.env.SOLC,
  isSolcJs: false,
}));

module.exports = {
  solidity: { version, settings: { evmVersion: "cancun" } },
  paths: { sources: "./contracts" },
  networks: { kinesis: { url: process.env.RPC_URL, accounts: [process.env.KEY] } },
};
