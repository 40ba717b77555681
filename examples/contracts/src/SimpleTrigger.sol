// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

import {ISimpleTrigger} from "../interfaces/ISimpleTrigger.sol";

/// @title Lets anyone ask for work
contract SimpleTrigger is ISimpleTrigger {
    /// @notice The id of the next trigger. Zero stays unused.
    uint64 public nextTriggerId = 1;

    mapping(uint64 triggerId => TriggerInfo) private triggers;

    function addTrigger(bytes calldata data) external returns (uint64) {
        return _add(data);
    }

    function addMany(uint256 count, bytes calldata data) external {
        for (uint256 i = 0; i < count; i++) {
            _add(data);
        }
    }

    function getTrigger(uint64 triggerId) external view returns (TriggerInfo memory) {
        return triggers[triggerId];
    }

    function _add(bytes calldata data) private returns (uint64 triggerId) {
        triggerId = nextTriggerId++;
        TriggerInfo memory info = TriggerInfo({triggerId: triggerId, creator: msg.sender, data: data});
        triggers[triggerId] = info;
        emit NewTrigger(abi.encode(info));
    }
}
