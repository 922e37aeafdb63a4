// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice What halmos is to prove of a pool's shares. The pool's conversions are those of OpenZeppelin's
/// ERC-4626 with an offset of six decimals, both rounded down:
///
///     shares = assets * (supply + 10^6) / (total + 1)
///     assets = shares * (total + 1) / (supply + 10^6)
///
/// They are written out here, in eight bits, where a solver can multiply and divide unknowns; that the
/// pool computes them is what `test/pool` tests.
contract SharesProofs {
    uint256 private constant OFFSET = 1e6;

    function _shares(uint256 assets, uint256 supply, uint256 total) private pure returns (uint256) {
        return assets * (supply + OFFSET) / (total + 1);
    }

    function _assets(uint256 shares, uint256 supply, uint256 total) private pure returns (uint256) {
        return shares * (total + 1) / (supply + OFFSET);
    }

    /// @dev Shares bought are never worth more than they cost, whatever the pool looks like.
    function check_sharesAreNeverWorthMoreThanTheyCost(uint8 assets, uint8 supply, uint8 total)
        public
        pure
    {
        uint256 shares = _shares(assets, supply, total);
        assert(_assets(shares, supply + shares, uint256(total) + assets) <= assets);
    }

    /// @dev All shares together are never worth more than the assets.
    function check_allSharesAreWithinTheAssets(uint8 supply, uint8 total) public pure {
        assert(_assets(supply, supply, total) <= total);
    }

    /// @dev A deposit takes nothing from who is in the pool already.
    function check_aDepositDilutesNobody(uint8 mine, uint8 assets, uint8 supply, uint8 total)
        public
        pure
    {
        if (mine > supply) return;
        uint256 before = _assets(mine, supply, total);
        uint256 shares = _shares(assets, supply, total);
        assert(_assets(mine, supply + shares, uint256(total) + assets) >= before);
    }
}
