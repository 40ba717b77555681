// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

/// @title The history of operators, their keys and weights
/// @notice A question about a block that is not yet in the past has no final answer and reverts.
interface IOperatorRegistry {
    /// @notice A key does not sign for any operator at the reference block.
    error SignerNotRegistered();
    /// @notice The signers are not strictly ascending.
    error NotSorted();
    /// @notice The block is not in the past.
    error InvalidReferenceBlock();
    /// @notice The signers weigh more than all operators together.
    error InvalidSignedWeight();
    /// @notice The signers weigh less than the absolute threshold.
    error InsufficientSignedStake();

    event SigningKeyUpdate(
        address indexed operator, uint256 indexed updateBlock, address indexed newSigningKey, address oldSigningKey
    );
    event OperatorWeightUpdated(address indexed operator, uint256 oldWeight, uint256 newWeight);
    event TotalWeightUpdated(uint256 oldTotalWeight, uint256 newTotalWeight);
    event ThresholdWeightUpdated(uint256 thresholdWeight);

    function getOperatorForSigningKeyAtBlock(address signingKey, uint256 blockNumber) external view returns (address);

    function getOperatorSigningKeyAtBlock(address operator, uint256 blockNumber) external view returns (address);

    function getOperatorWeightAtBlock(address operator, uint32 blockNumber) external view returns (uint256);

    function getLastCheckpointTotalWeightAtBlock(uint32 blockNumber) external view returns (uint256);

    function getLastCheckpointThresholdWeightAtBlock(uint32 blockNumber) external view returns (uint256);
}
