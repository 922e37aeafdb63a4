// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Time} from "@openzeppelin/contracts/utils/types/Time.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    ERC20Upgradeable
} from "@openzeppelin/contracts-upgradeable/token/ERC20/ERC20Upgradeable.sol";
import {
    ERC20PermitUpgradeable
} from "@openzeppelin/contracts-upgradeable/token/ERC20/extensions/ERC20PermitUpgradeable.sol";
import {
    ERC20VotesUpgradeable
} from "@openzeppelin/contracts-upgradeable/token/ERC20/extensions/ERC20VotesUpgradeable.sol";
import {NoncesUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/NoncesUpgradeable.sol";

import {IJoule} from "./interfaces/IJoule.sol";

/// @title JOULE
/// @notice See {IJoule}.
contract Joule is
    Initializable,
    ERC20Upgradeable,
    ERC20PermitUpgradeable,
    ERC20VotesUpgradeable,
    Ownable2StepUpgradeable,
    UUPSUpgradeable,
    IJoule
{
    /// @notice No year may add more than this share of the supply, in basis points.
    uint16 public constant YEARLY_EMISSION_BP_CAP = 1_000;

    uint256 private constant YEAR = 365 days;

    /// @custom:storage-location erc7201:kinesis.storage.Joule
    struct JouleStorage {
        /// When the first year began.
        uint64 issuedAt;
        /// The year that `left` belongs to.
        uint64 year;
        /// The share of the supply that each new year may add.
        uint16 yearlyEmissionBp;
        /// What may still be minted in `year`.
        uint256 left;
    }

    // keccak256(abi.encode(uint256(keccak256("kinesis.storage.Joule")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_LOCATION =
        0x6531cb0abc00a8619a322c8718303f36cd96d149184a4bec64d7e5a8f5a67e00;

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    /// @notice Issues the first supply.
    /// @param owner_ Who mints, sets the emission and upgrades.
    /// @param supply The first supply, in wei; goes to the owner.
    /// @param yearlyEmissionBp_ What a year may add, in basis points of the supply at its start.
    function initialize(address owner_, uint256 supply, uint16 yearlyEmissionBp_)
        external
        initializer
    {
        __ERC20_init("Joule", "JOULE");
        __ERC20Permit_init("Joule");
        __ERC20Votes_init();
        __Ownable_init(owner_);
        __Ownable2Step_init();
        JouleStorage storage $ = _joule();
        $.issuedAt = uint64(block.timestamp);
        _setYearlyEmission(yearlyEmissionBp_);
        _mint(owner_, supply);
        $.left = _emission(supply, yearlyEmissionBp_);
    }

    /// @inheritdoc IJoule
    function mint(address to, uint256 amount) external onlyOwner {
        JouleStorage storage $ = _joule();
        (uint64 year, uint256 left) = _emissionNow();
        if (amount > left) revert EmissionExceeded(amount, left);
        $.year = year;
        $.left = left - amount;
        _mint(to, amount);
        emit Emitted(to, amount, year);
    }

    /// @inheritdoc IJoule
    function burn(uint256 amount) external {
        _burn(msg.sender, amount);
    }

    /// @inheritdoc IJoule
    function setYearlyEmission(uint16 yearlyEmissionBp_) external onlyOwner {
        // What is left of a year that has begun is settled at the old rate first.
        JouleStorage storage $ = _joule();
        ($.year, $.left) = _emissionNow();
        _setYearlyEmission(yearlyEmissionBp_);
    }

    /// @inheritdoc IJoule
    function yearlyEmissionBp() external view returns (uint16) {
        return _joule().yearlyEmissionBp;
    }

    /// @inheritdoc IJoule
    function emissionLeft() external view returns (uint256 left) {
        (, left) = _emissionNow();
    }

    /// @notice The permit nonce of an account.
    /// @param owner_ The account.
    function nonces(address owner_)
        public
        view
        override(ERC20PermitUpgradeable, NoncesUpgradeable)
        returns (uint256)
    {
        return super.nonces(owner_);
    }

    /// @notice Votes are counted by the clock and not by blocks: on a layer 2 blocks come as they
    /// like, and on a quiet chain none comes.
    function clock() public view override returns (uint48) {
        return Time.timestamp();
    }

    /// @notice {clock} in words (ERC-6372).
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    /// @dev The supply fits the 96 bits that a payment leaf has for an amount.
    function _maxSupply() internal pure override returns (uint256) {
        return type(uint96).max;
    }

    function _update(address from, address to, uint256 amount)
        internal
        override(ERC20Upgradeable, ERC20VotesUpgradeable)
    {
        super._update(from, to, amount);
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}

    /// @dev The year by the clock and what may still be minted in it. A year without a mint in it
    /// passes: its emission is not saved up.
    function _emissionNow() private view returns (uint64 year, uint256 left) {
        JouleStorage storage $ = _joule();
        year = uint64((block.timestamp - $.issuedAt) / YEAR);
        left = year == $.year ? $.left : _emission(totalSupply(), $.yearlyEmissionBp);
    }

    function _emission(uint256 supply, uint16 bp) private pure returns (uint256) {
        return supply * bp / 10_000;
    }

    function _setYearlyEmission(uint16 yearlyEmissionBp_) private {
        if (yearlyEmissionBp_ > YEARLY_EMISSION_BP_CAP) {
            revert YearlyEmissionTooHigh(yearlyEmissionBp_, YEARLY_EMISSION_BP_CAP);
        }
        _joule().yearlyEmissionBp = yearlyEmissionBp_;
        emit YearlyEmissionChanged(yearlyEmissionBp_);
    }

    function _joule() private pure returns (JouleStorage storage $) {
        assembly {
            $.slot := STORAGE_LOCATION
        }
    }
}
