// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

import {Envelope, SignatureData} from "../interfaces/Envelope.sol";
import {IWavsServiceHandler} from "../interfaces/IWavsServiceHandler.sol";
import {IWavsServiceManager} from "../interfaces/IWavsServiceManager.sol";

/// @title A handler that refuses everything
/// @notice For tests: an error that no node can know from a manager, after signatures that the manager accepts.
contract RevertingHandler is IWavsServiceHandler {
    error Refused(bytes20 eventId);

    IWavsServiceManager private immutable manager;

    constructor(IWavsServiceManager serviceManager) {
        manager = serviceManager;
    }

    function handleSignedEnvelope(Envelope calldata envelope, SignatureData calldata signatureData) external view {
        manager.validate(envelope, signatureData);
        revert Refused(envelope.eventId);
    }

    function getServiceManager() external view returns (address) {
        return address(manager);
    }
}
