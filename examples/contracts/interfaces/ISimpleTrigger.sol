// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

/// @title A contract that starts work by emitting an event
interface ISimpleTrigger {
    struct TriggerInfo {
        uint64 triggerId;
        address creator;
        bytes data;
    }

    /// @notice Carries the ABI encoding of a TriggerInfo.
    event NewTrigger(bytes triggerInfo);

    /// @notice Ask for work on the data.
    function addTrigger(bytes calldata data) external returns (uint64 triggerId);

    /// @notice Ask for the same work `count` times in one transaction.
    function addMany(uint256 count, bytes calldata data) external;

    /// @notice What was asked under an id; all zero for an id that was never given out.
    function getTrigger(uint64 triggerId) external view returns (TriggerInfo memory);
}
