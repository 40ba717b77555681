// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

import {Envelope, SignatureData} from "../interfaces/Envelope.sol";
import {IWavsServiceManager} from "../interfaces/IWavsServiceManager.sol";
import {OperatorRegistry} from "./OperatorRegistry.sol";
import {Signatures} from "./Signatures.sol";

/// @title A service manager whose owner picks the operators
/// @notice Checks real signatures against the operator set of a past block. The set itself is the owner's word: a
/// service that moves value wants a registry that operators put stake into.
contract WavsServiceManager is IWavsServiceManager, OperatorRegistry {
    uint256 public quorumNumerator = 2;
    uint256 public quorumDenominator = 3;

    string private serviceURI;

    /// @notice Ask for another share of the total weight. It applies at once, to older reference blocks too.
    function setQuorumThreshold(uint256 numerator, uint256 denominator) external onlyOwner {
        if (numerator == 0 || denominator == 0 || numerator > denominator) revert InvalidQuorumParameters();
        quorumNumerator = numerator;
        quorumDenominator = denominator;
        emit QuorumThresholdUpdated(numerator, denominator);
    }

    function setServiceURI(string calldata uri) external onlyOwner {
        serviceURI = uri;
        emit ServiceURIUpdated(uri);
    }

    function validate(Envelope calldata envelope, SignatureData calldata signatureData) external view {
        uint256 count = signatureData.signers.length;
        if (count == 0 || count != signatureData.signatures.length) revert InvalidSignatureLength();
        uint256 referenceBlock = signatureData.referenceBlock;
        if (referenceBlock >= block.number) revert InvalidSignatureBlock();

        uint256 signed = _signedWeight(Signatures.digest(envelope), signatureData, referenceBlock);
        uint256 total = _totalWeightAt(referenceBlock);
        if (signed > total) revert InvalidSignedWeight();
        if (_thresholdWeightAt(referenceBlock) > signed) revert InsufficientSignedStake();
        if (total == 0) revert InsufficientQuorumZero();
        uint256 threshold = (total * quorumNumerator) / quorumDenominator;
        if (signed < threshold) revert InsufficientQuorum(signed, threshold, total);
    }

    function getServiceURI() external view returns (string memory) {
        return serviceURI;
    }

    function getOperatorWeight(address operator) external view returns (uint256) {
        return _latestWeight(operator);
    }

    function getLatestOperatorForSigningKey(address signingKey) external view returns (address) {
        return _latestOperator(signingKey);
    }

    /// @notice This contract is its own registry.
    function getStakeRegistry() external view returns (address) {
        return address(this);
    }

    function getAllocationManager() external pure returns (address) {
        return address(0);
    }

    function getDelegationManager() external pure returns (address) {
        return address(0);
    }

    /// @dev The sum of the weights of all signers, each of which must be known, in order and truly have signed.
    function _signedWeight(bytes32 hash, SignatureData calldata signatureData, uint256 referenceBlock)
        private
        view
        returns (uint256 signed)
    {
        address previous = address(0);
        for (uint256 i = 0; i < signatureData.signers.length; i++) {
            address signer = signatureData.signers[i];
            address operator = _operatorAt(signer, referenceBlock);
            if (operator == address(0)) revert SignerNotRegistered();
            if (signer <= previous) revert NotSorted();
            if (!Signatures.isValid(hash, signer, signatureData.signatures[i])) revert InvalidSignature();
            signed += _weightAt(operator, referenceBlock);
            previous = signer;
        }
    }
}
