// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

import {Envelope, SignatureData} from "./Envelope.sol";

/// @title The contract that receives the results of a service
interface IWavsServiceHandler {
    /// @notice Take a result. Reverts unless the service manager accepts the signatures.
    function handleSignedEnvelope(Envelope calldata envelope, SignatureData calldata signatureData) external;

    /// @notice The manager that this handler trusts.
    function getServiceManager() external view returns (address);
}
