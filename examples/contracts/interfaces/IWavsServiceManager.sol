// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

import {Envelope, SignatureData} from "./Envelope.sol";

/// @title The contract that owns a service
/// @notice Knows where the service is defined and who operates it, and judges whether enough of them signed.
interface IWavsServiceManager {
    /// @notice The signers do not reach the quorum.
    error InsufficientQuorum(uint256 signerWeight, uint256 thresholdWeight, uint256 totalWeight);
    /// @notice There is no weight at all at the reference block.
    error InsufficientQuorumZero();
    /// @notice No signers, or not as many signatures as signers.
    error InvalidSignatureLength();
    /// @notice The reference block is not in the past.
    error InvalidSignatureBlock();
    /// @notice A signature is malformed or of somebody else.
    error InvalidSignature();
    /// @notice The quorum is not a fraction above zero and up to one.
    error InvalidQuorumParameters();

    /// @notice The service is defined elsewhere now.
    event ServiceURIUpdated(string serviceURI);
    /// @notice Another share of the weight has to sign.
    event QuorumThresholdUpdated(uint256 indexed numerator, uint256 indexed denominator);

    /// @notice Returns if enough operators signed the envelope, reverts otherwise.
    function validate(Envelope calldata envelope, SignatureData calldata signatureData) external view;

    /// @notice The present weight of an operator.
    function getOperatorWeight(address operator) external view returns (uint256);

    /// @notice The operator that a key signs for at present; zero if there is none.
    function getLatestOperatorForSigningKey(address signingKey) external view returns (address);

    /// @notice Where the service is defined.
    function getServiceURI() external view returns (string memory);

    /// @notice Move the definition of the service.
    function setServiceURI(string calldata serviceURI) external;

    /// @notice The contract with the history of operators, keys and weights.
    function getStakeRegistry() external view returns (address);

    /// @notice Zero where the operator set does not come from restaking.
    function getAllocationManager() external view returns (address);

    /// @notice Zero where the operator set does not come from restaking.
    function getDelegationManager() external view returns (address);
}
