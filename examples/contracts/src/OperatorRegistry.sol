// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

import {IOperatorRegistry} from "../interfaces/IOperatorRegistry.sol";
import {History} from "./History.sol";

/// @title Operators by decision of an owner
/// @notice Keeps who operates, with which key and weight, and since which block. A key signs for one operator at most.
abstract contract OperatorRegistry is IOperatorRegistry {
    using History for History.Value;

    error NotOwner(address caller);
    error InvalidOperator(address operator, address signingKey);
    error SigningKeyTaken(address signingKey, address operator);

    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    address public owner;

    mapping(address operator => History.Value) private weights;
    mapping(address operator => History.Value) private signingKeys;
    mapping(address signingKey => History.Value) private operators;
    History.Value private totalWeight;
    History.Value private thresholdWeight;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    constructor() {
        owner = msg.sender;
        emit OwnershipTransferred(address(0), msg.sender);
    }

    function transferOwnership(address newOwner) external onlyOwner {
        emit OwnershipTransferred(owner, newOwner);
        owner = newOwner;
    }

    /// @notice Add an operator, or change its weight and key.
    function setOperator(address operator, uint256 weight, address signingKey) external onlyOwner {
        if (operator == address(0) || signingKey == address(0)) revert InvalidOperator(operator, signingKey);
        _setSigningKey(operator, signingKey);
        _setWeight(operator, weight);
    }

    /// @notice Take weight and key away. The past stays as it was.
    function removeOperator(address operator) external onlyOwner {
        _setSigningKey(operator, address(0));
        _setWeight(operator, 0);
    }

    /// @notice Demand a weight below which no quorum counts, whatever the total.
    function setThresholdWeight(uint256 weight) external onlyOwner {
        thresholdWeight.set(weight);
        emit ThresholdWeightUpdated(weight);
    }

    /// @notice The key that an operator signs with at present; zero if there is none.
    function getLatestOperatorSigningKey(address operator) external view returns (address) {
        return address(uint160(signingKeys[operator].latest()));
    }

    function getOperatorForSigningKeyAtBlock(address signingKey, uint256 blockNumber) external view returns (address) {
        return _operatorAt(signingKey, _past(blockNumber));
    }

    function getOperatorSigningKeyAtBlock(address operator, uint256 blockNumber) external view returns (address) {
        return address(uint160(signingKeys[operator].at(_past(blockNumber))));
    }

    function getOperatorWeightAtBlock(address operator, uint32 blockNumber) external view returns (uint256) {
        return weights[operator].at(_past(blockNumber));
    }

    function getLastCheckpointTotalWeightAtBlock(uint32 blockNumber) external view returns (uint256) {
        return totalWeight.at(_past(blockNumber));
    }

    function getLastCheckpointThresholdWeightAtBlock(uint32 blockNumber) external view returns (uint256) {
        return thresholdWeight.at(_past(blockNumber));
    }

    function _latestWeight(address operator) internal view returns (uint256) {
        return weights[operator].latest();
    }

    function _latestOperator(address signingKey) internal view returns (address) {
        return address(uint160(operators[signingKey].latest()));
    }

    function _operatorAt(address signingKey, uint256 blockNumber) internal view returns (address) {
        return address(uint160(operators[signingKey].at(blockNumber)));
    }

    function _weightAt(address operator, uint256 blockNumber) internal view returns (uint256) {
        return weights[operator].at(blockNumber);
    }

    function _totalWeightAt(uint256 blockNumber) internal view returns (uint256) {
        return totalWeight.at(blockNumber);
    }

    function _thresholdWeightAt(uint256 blockNumber) internal view returns (uint256) {
        return thresholdWeight.at(blockNumber);
    }

    function _past(uint256 blockNumber) private view returns (uint256) {
        if (blockNumber >= block.number) revert InvalidReferenceBlock();
        return blockNumber;
    }

    function _setSigningKey(address operator, address signingKey) private {
        address old = address(uint160(signingKeys[operator].latest()));
        if (old == signingKey) return;
        if (signingKey != address(0)) {
            address user = _latestOperator(signingKey);
            if (user != address(0)) revert SigningKeyTaken(signingKey, user);
            operators[signingKey].set(uint160(operator));
        }
        if (old != address(0)) operators[old].set(0);
        signingKeys[operator].set(uint160(signingKey));
        emit SigningKeyUpdate(operator, block.number, signingKey, old);
    }

    function _setWeight(address operator, uint256 weight) private {
        uint256 old = weights[operator].latest();
        if (old == weight) return;
        uint256 oldTotal = totalWeight.latest();
        uint256 newTotal = oldTotal - old + weight;
        weights[operator].set(weight);
        totalWeight.set(newTotal);
        emit OperatorWeightUpdated(operator, old, weight);
        emit TotalWeightUpdated(oldTotal, newTotal);
    }
}
