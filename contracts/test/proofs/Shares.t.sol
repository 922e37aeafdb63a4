// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @notice What halmos is to prove of a pool's shares. The pool's conversions are those of OpenZeppelin's
/// ERC-4626 with an offset of six decimals, both rounded down:
///
///     shares = assets * (supply + 10^6) / (total + 1)
///     assets = shares * (total + 1) / (supply + 10^6)
///
/// with its `mulDiv`; that the pool computes them is what `test/pool` tests. Assets have 96 bits, as
/// JOULE's supply fits. Shares have 128: a deposit of all that JOULE into an empty pool makes 96 bits of
/// it times 10^6, and losses that made a share worth less by more than a factor of 4,000 are beyond
/// what is proven.
contract SharesProofs {
    uint256 private constant OFFSET = 1e6;

    function _shares(uint256 assets, uint256 supply, uint256 total) private pure returns (uint256) {
        return Math.mulDiv(assets, supply + OFFSET, total + 1);
    }

    function _assets(uint256 shares, uint256 supply, uint256 total) private pure returns (uint256) {
        return Math.mulDiv(shares, total + 1, supply + OFFSET);
    }

    /// @dev Shares bought are never worth more than they cost, whatever the pool looks like.
    function check_sharesAreNeverWorthMoreThanTheyCost(uint96 assets, uint128 supply, uint96 total)
        public
        pure
    {
        uint256 bought = _shares(assets, supply, total);
        if (supply + bought > type(uint128).max) return;
        // Said once more, for the solver.
        uint256 shares = uint128(bought);
        assert(_assets(shares, supply + shares, uint256(total) + assets) <= assets);
    }

    /// @dev All shares together are never worth more than the assets.
    function check_allSharesAreWithinTheAssets(uint128 supply, uint96 total) public pure {
        assert(_assets(supply, supply, total) <= total);
    }

    /// @dev A deposit takes nothing from who is in the pool already.
    function check_aDepositDilutesNobody(uint128 mine, uint96 assets, uint128 supply, uint96 total)
        public
        pure
    {
        if (mine > supply) return;
        uint256 before = _assets(mine, supply, total);
        uint256 shares = _shares(assets, supply, total);
        assert(_assets(mine, supply + shares, uint256(total) + assets) >= before);
    }

    /// @dev Nor does a withdrawal through the queue, which burns shares for what they are worth.
    function check_aWithdrawalDilutesNobody(
        uint128 mine,
        uint128 theirs,
        uint128 supply,
        uint96 total
    ) public pure {
        if (uint256(mine) + theirs > supply) return;
        uint256 before = _assets(mine, supply, total);
        uint256 paid = _assets(theirs, supply, total);
        assert(_assets(mine, uint256(supply) - theirs, total - paid) >= before);
    }
}
