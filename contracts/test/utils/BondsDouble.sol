// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IBonds} from "../../src/interfaces/IBonds.sol";

/// @title Stands in for the registry: keeps bonds as {IBonds} says, and lets anyone slash.
contract BondsDouble is IBonds {
    uint256 public constant THAW = 7 days;

    struct Loan {
        uint256 lent;
        uint256 thawing;
        uint256 thawedAt;
    }

    IERC20 private immutable joule;

    mapping(address supplier => uint256) public ownStake;
    mapping(address lender => uint256) public lentBy;
    mapping(address lender => uint256) public thawingBy;
    mapping(address lender => mapping(address supplier => Loan)) private loans;

    error LoanStands();
    error AboveLoan();

    constructor(IERC20 joule_) {
        joule = joule_;
    }

    function bond(address supplier, uint256 amount) external {
        ownStake[supplier] += amount;
        joule.transferFrom(msg.sender, address(this), amount);
    }

    function lend(address supplier, uint256 amount) external {
        loans[msg.sender][supplier].lent += amount;
        lentBy[msg.sender] += amount;
        joule.transferFrom(msg.sender, address(this), amount);
    }

    function recall(address supplier, uint256 amount) external {
        Loan storage loan = loans[msg.sender][supplier];
        if (loan.thawing + amount > loan.lent) revert AboveLoan();
        loan.thawing += amount;
        loan.thawedAt = block.timestamp + THAW;
        thawingBy[msg.sender] += amount;
    }

    function reclaim(address supplier) external returns (uint256 amount) {
        Loan storage loan = loans[msg.sender][supplier];
        if (block.timestamp < loan.thawedAt) return 0;
        amount = loan.thawing;
        loan.thawing = 0;
        loan.lent -= amount;
        lentBy[msg.sender] -= amount;
        thawingBy[msg.sender] -= amount;
        joule.transfer(msg.sender, amount);
    }

    /// @dev The supplier's own stake leaves only when no loan of `lender` stands behind it.
    function unbond(address lender, uint256 amount) external {
        if (loans[lender][msg.sender].lent > 0) revert LoanStands();
        ownStake[msg.sender] -= amount;
        joule.transfer(msg.sender, amount);
    }

    /// @dev The own stake first, then the loan, thawing or not.
    function slash(address supplier, address lender, uint256 amount, address to)
        external
        returns (uint256 taken)
    {
        uint256 own = amount < ownStake[supplier] ? amount : ownStake[supplier];
        ownStake[supplier] -= own;
        Loan storage loan = loans[lender][supplier];
        uint256 rest = amount - own < loan.lent ? amount - own : loan.lent;
        loan.lent -= rest;
        lentBy[lender] -= rest;
        if (loan.thawing > loan.lent) {
            thawingBy[lender] -= loan.thawing - loan.lent;
            loan.thawing = loan.lent;
        }
        taken = own + rest;
        joule.transfer(to, taken);
    }

    function lentTo(address lender, address supplier) external view returns (uint256) {
        return loans[lender][supplier].lent;
    }

    function thawing(address lender, address supplier) external view returns (uint256) {
        return loans[lender][supplier].thawing;
    }
}
