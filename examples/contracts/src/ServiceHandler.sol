// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

import {Envelope, SignatureData} from "../interfaces/Envelope.sol";
import {IWavsServiceHandler} from "../interfaces/IWavsServiceHandler.sol";
import {IWavsServiceManager} from "../interfaces/IWavsServiceManager.sol";

/// @title A handler that keeps every result
/// @notice Each event id is taken once: operators may race, and the later ones must fail.
contract ServiceHandler is IWavsServiceHandler {
    error AlreadyHandled(bytes20 eventId);

    event ResultStored(bytes20 indexed eventId, bytes payload);

    IWavsServiceManager private immutable manager;

    /// @notice The payload of an event; empty before it arrived.
    mapping(bytes20 eventId => bytes) public results;
    /// @notice Whether an event arrived. A payload may be empty, so its length does not tell.
    mapping(bytes20 eventId => bool) public handled;
    /// @notice How many events arrived.
    uint256 public resultCount;

    constructor(IWavsServiceManager serviceManager) {
        manager = serviceManager;
    }

    function handleSignedEnvelope(Envelope calldata envelope, SignatureData calldata signatureData) external {
        if (handled[envelope.eventId]) revert AlreadyHandled(envelope.eventId);
        manager.validate(envelope, signatureData);
        handled[envelope.eventId] = true;
        results[envelope.eventId] = envelope.payload;
        resultCount++;
        emit ResultStored(envelope.eventId, envelope.payload);
    }

    function getServiceManager() external view returns (address) {
        return address(manager);
    }
}
