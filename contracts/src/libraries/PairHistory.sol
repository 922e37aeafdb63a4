// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IUniswapV2Pair} from "../interfaces/IUniswapV2.sol";

/// @notice A pair's sum of price times seconds at a moment.
struct PairPoint {
    uint64 time;
    uint256 cumulative;
}

/// @notice What was noted of a pair: a ring of points, each at least a thirty-second of a window
/// after the one before.
/// @param head The newest of the points.
/// @param count How many points there are.
/// @param points The ring: it reaches back some two windows.
struct PairHistory {
    uint32 head;
    uint32 count;
    PairPoint[64] points;
}

/// @title The time-weighted price of a Uniswap v2 pair.
/// @notice The pair sums its price up itself, exactly and for every second; what is noted here is
/// only where the sum stood. A price counts there from the end of the block that made it.
library PairHistories {
    uint256 internal constant POINTS = 64;
    uint256 internal constant POINTS_PER_WINDOW = 32;

    /// @notice Notes where the sum stands, unless it was noted just before.
    function note(PairHistory storage self, uint256 cumulative, uint256 window) internal {
        if (self.count > 0) {
            uint256 passed = block.timestamp - self.points[self.head].time;
            if (passed == 0 || passed < window / POINTS_PER_WINDOW) return;
            self.head = uint32((self.head + 1) % POINTS);
        }
        if (self.count < POINTS) self.count += 1;
        self.points[self.head] = PairPoint(uint64(block.timestamp), cumulative);
    }

    /// @notice The average since the newest point that is a window old, if that is no older than two.
    /// @param cumulative Where the sum stands now.
    /// @param window How far back at least, in seconds.
    /// @return known Whether there is such a point.
    /// @return mean The average, as a number of 112 binary places.
    function average(PairHistory storage self, uint256 cumulative, uint256 window)
        internal
        view
        returns (bool known, uint256 mean)
    {
        for (uint256 i; i < self.count; ++i) {
            PairPoint memory point = self.points[(self.head + POINTS - i) % POINTS];
            uint256 passed = block.timestamp - point.time;
            if (passed < window) continue;
            if (passed > 2 * window) return (false, 0);
            // The pair's sum is meant to wrap around.
            unchecked {
                return (true, (cumulative - point.cumulative) / passed);
            }
        }
    }

    /// @notice Where a pair's sum stands now, as the pair would write it itself.
    /// @param pair The pair.
    /// @param ofToken0 Whether it is the price of token 0.
    function cumulativeOf(IUniswapV2Pair pair, bool ofToken0)
        internal
        view
        returns (uint256 cumulative)
    {
        (uint112 reserve0, uint112 reserve1, uint32 last) = pair.getReserves();
        cumulative = ofToken0 ? pair.price0CumulativeLast() : pair.price1CumulativeLast();
        (uint256 base, uint256 quote) = ofToken0 ? (reserve0, reserve1) : (reserve1, reserve0);
        if (base == 0) return cumulative;
        // Times modulo 2^32 and a sum modulo 2^256, as in the pair.
        unchecked {
            cumulative += ((quote << 112) / base) * uint32(uint32(block.timestamp) - last);
        }
    }
}
