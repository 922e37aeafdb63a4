"""Slither over every contract of src/, from the syntax trees of the npm compiler: it needs no bytecode, and
so no build. Prints what the detectors find that slither.config.json does not leave out; the answers are
in docs/protocol/static-analysis.md. Usage: npm run slither
"""

import glob
import inspect
import json
import os
import re
import subprocess

import crytic_compile.platform.solc_standard_json as platform
from crytic_compile import CryticCompile
from slither import Slither
from slither.detectors import all_detectors
from slither.detectors.abstract_detector import AbstractDetector

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
COMPILER = "scripts/solc.mjs"

sources, left = {}, glob.glob("src/*.sol")
while left:
    path = left.pop()
    if path in sources:
        continue
    with open(path, encoding="utf-8") as file:
        sources[path] = {"content": file.read()}
    for found in re.findall(r'(?:from|import)\s+"([^"]+)"', sources[path]["content"]):
        beside = os.path.normpath(os.path.join(os.path.dirname(path), found))
        left.append(beside if found.startswith(".") else f"node_modules/{found}")
question = {
    "language": "Solidity",
    "sources": sources,
    "settings": {
        "evmVersion": "cancun",
        "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
        "outputSelection": {"*": {"*": ["abi"], "": ["ast"]}},
    },
}


def compiled(asked, *_, **__):
    """What the compiler says, with the bytecode that slither wants to see and does not read."""
    said = subprocess.run(
        ["node", COMPILER, "--standard-json"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    output = json.loads(said.stdout)
    problems = [one for one in output.get("errors", []) if one["severity"] == "error"]
    if problems:
        raise SystemExit("\n".join(one["formattedMessage"] for one in problems))
    for contracts in output["contracts"].values():
        for contract in contracts.values():
            code = {"object": "", "sourceMap": "", "linkReferences": {}}
            contract["evm"] = {"bytecode": code, "deployedBytecode": code, "methodIdentifiers": {}}
            contract.update({"metadata": "", "userdoc": {}, "devdoc": {}})
    return output


platform.run_solc_standard_json = compiled
with open("slither.config.json", encoding="utf-8") as file:
    config = json.load(file)
compilation = CryticCompile(platform.SolcStandardJson(question), solc=COMPILER)
slither = Slither(compilation, filter_paths=config["filter_paths"].split("|"))
detectors = [
    one
    for _, one in inspect.getmembers(all_detectors, inspect.isclass)
    if issubclass(one, AbstractDetector) and one is not AbstractDetector
]
for detector in detectors:
    if detector.ARGUMENT not in config["detectors_to_exclude"].split(","):
        slither.register_detector(detector)
findings = [finding for found in slither.run_detectors() for finding in found]
for finding in findings:
    first = finding["description"].strip().splitlines()[0]
    print(f"{finding['check']} ({finding['impact'].lower()}): {first}")
print(json.dumps({"detectors": len(detectors), "findings": len(findings)}))
