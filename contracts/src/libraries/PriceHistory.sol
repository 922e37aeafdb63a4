// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice The sum of price times seconds up to a moment.
struct PricePoint {
    uint64 time;
    uint192 cumulative;
}

/// @notice A price's past.
/// @param now_ The sum up to the last note.
/// @param head The newest of the points.
/// @param count How many points there are.
/// @param points A ring of points; of any three in a row, the outer ones lie at least a
/// thirty-second of a window apart.
struct PriceHistory {
    PricePoint now_;
    uint32 head;
    uint32 count;
    PricePoint[128] points;
}

/// @title A price over time.
/// @notice A price counts from the moment it is noted for as long as it then lasts, so that one which
/// comes and goes within a block counts nothing. The past reaches back some two windows. Between two
/// points it is a straight line, which blurs at most a thirty-second of a window at its far end.
library PriceHistories {
    uint256 internal constant POINTS = 128;
    uint256 internal constant POINTS_PER_WINDOW = 32;

    /// @notice How far the past reaches back, in seconds since 1970.
    function oldest(PriceHistory storage self) internal view returns (uint256) {
        return self.points[(self.head + POINTS + 1 - self.count) % POINTS].time;
    }

    /// @notice Begins at this moment.
    function open(PriceHistory storage self) internal {
        self.now_ = PricePoint(uint64(block.timestamp), 0);
        self.points[0] = self.now_;
        self.head = 0;
        self.count = 1;
    }

    /// @notice Counts the price that has held since the last note.
    /// @param price The price before the change that is about to happen.
    /// @param window The window that {average} will be asked for, in seconds.
    function note(PriceHistory storage self, uint128 price, uint256 window) internal {
        PricePoint memory last = self.now_;
        uint256 passed = block.timestamp - last.time;
        if (passed == 0) return;
        // The last note becomes a point, not this one: then every stretch that the window may begin
        // in is as it was, and a note alone never changes the average.
        uint256 head = self.points[self.head].time;
        if (last.time > head && block.timestamp - head >= window / POINTS_PER_WINDOW) {
            self.head = uint32((self.head + 1) % POINTS);
            self.points[self.head] = last;
            if (self.count < POINTS) self.count += 1;
        }
        // 128 bits of price times 64 bits of seconds are the 192 bits of the sum.
        last.cumulative += uint192(uint256(price) * passed);
        last.time = uint64(block.timestamp);
        self.now_ = last;
    }

    /// @notice The average over the window that ends now.
    /// @param price The price since the last note.
    /// @param window How far back, in seconds.
    /// @return known Whether the past reaches that far.
    /// @return mean The average.
    function average(PriceHistory storage self, uint128 price, uint256 window)
        internal
        view
        returns (bool known, uint256 mean)
    {
        PricePoint memory next = self.now_;
        uint256 start = block.timestamp - window;
        if (start >= next.time) return (true, price);
        uint256 end = next.cumulative + uint256(price) * (block.timestamp - next.time);
        for (uint256 i; i < self.count; ++i) {
            PricePoint memory point = self.points[(self.head + POINTS - i) % POINTS];
            if (point.time <= start) {
                uint256 share = uint256(next.cumulative - point.cumulative) * (start - point.time)
                    / (next.time - point.time);
                return (true, (end - point.cumulative - share) / window);
            }
            next = point;
        }
    }
}
