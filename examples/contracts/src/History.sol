// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

/// @notice A value whose past can be asked for: one entry for each block in which it changed.
library History {
    error ValueTooLarge(uint256 value);

    struct Entry {
        uint32 fromBlock;
        uint224 value;
    }

    struct Value {
        Entry[] entries;
    }

    /// @notice Set the value from this block on.
    function set(Value storage self, uint256 value) internal {
        if (value > type(uint224).max) revert ValueTooLarge(value);
        uint32 here = uint32(block.number);
        uint256 count = self.entries.length;
        if (count > 0 && self.entries[count - 1].fromBlock == here) {
            self.entries[count - 1].value = uint224(value);
        } else {
            self.entries.push(Entry({fromBlock: here, value: uint224(value)}));
        }
    }

    /// @notice The value at present; zero if it was never set.
    function latest(Value storage self) internal view returns (uint256) {
        uint256 count = self.entries.length;
        return count == 0 ? 0 : self.entries[count - 1].value;
    }

    /// @notice The value at the end of a block; zero before it was first set.
    function at(Value storage self, uint256 blockNumber) internal view returns (uint256) {
        uint256 low = 0;
        uint256 high = self.entries.length;
        // Everything below `low` starts in or before the block, everything from `high` on starts after it.
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (self.entries[middle].fromBlock <= blockNumber) low = middle + 1;
            else high = middle;
        }
        return low == 0 ? 0 : self.entries[low - 1].value;
    }
}
