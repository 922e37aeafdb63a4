// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The governor: holders of JOULE decide, the timelock carries out.
/// @notice Whoever has the threshold proposes calls; after the delay the balances of that moment
/// vote; what passes with a quorum waits in the timelock, where everybody can see it, before anyone
/// may execute it. A vote counts what was delegated at the snapshot, so tokens that are borrowed and
/// given back within a block count nothing. Undelegated tokens, the treasury's among them, do not
/// vote. The functions are those of OpenZeppelin's `IGovernor`.
interface IKinesisGovernor {
    /// @notice When and by how much proposals pass.
    /// @param votingDelay From a proposal to its snapshot, by the token's clock; never zero.
    /// @param votingPeriod From the snapshot to the end of the vote, by the token's clock.
    /// @param proposalThreshold The votes that a proposer needs, in wei of JOULE.
    /// @param quorumPercent For and abstain together, in percent of the supply; never zero.
    struct Settings {
        uint48 votingDelay;
        uint32 votingPeriod;
        uint256 proposalThreshold;
        uint256 quorumPercent;
    }

    /// @notice A voting delay of zero.
    error NoVotingDelay();

    /// @notice A quorum of zero.
    error NoQuorum();
}
