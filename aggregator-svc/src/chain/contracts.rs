//! Solidity interfaces of service managers, stake registries and handlers, with every error that `validate` may revert with.
//!
//! Managers come in three known forms (stake-weighted, proof of authority, mock); the getters below `getServiceManager`
//! exist only on some of them and are probed.

use alloy::sol;
use alloy::sol_types::SolCall;

sol! {
    /// What was signed.
    #[derive(Debug, PartialEq, Eq)]
    struct SolEnvelope {
        bytes20 eventId;
        bytes12 ordering;
        bytes payload;
    }

    /// Signatures over an envelope: signers strictly ascending, arrays parallel.
    #[derive(Debug, PartialEq, Eq)]
    struct SolSignatureData {
        address[] signers;
        bytes[] signatures;
        uint32 referenceBlock;
    }

    /// A service manager: operators, weights and the judge of signature sets.
    #[allow(missing_docs)]
    interface IWavsServiceManager {
        function validate(SolEnvelope envelope, SolSignatureData signatureData) external view;
        function getOperatorWeight(address operator) external view returns (uint256);
        function getLatestOperatorForSigningKey(address signingKey) external view returns (address);
        function getServiceURI() external view returns (string);
        function getStakeRegistry() external view returns (address);

        function quorumNumerator() external view returns (uint256);
        function quorumDenominator() external view returns (uint256);
        function getLastCheckpointQuorumAtBlock(uint32 blockNumber) external view returns (uint256 numerator, uint256 denominator);
    }

    /// The history that a registry keeps; on the manager itself for proof of authority.
    #[allow(missing_docs)]
    interface IStakeRegistry {
        function getOperatorForSigningKeyAtBlock(address signingKey, uint256 blockNumber) external view returns (address);
        function getOperatorSigningKeyAtBlock(address operator, uint256 blockNumber) external view returns (address);
        function getOperatorWeightAtBlock(address operator, uint32 blockNumber) external view returns (uint256);
        function getLastCheckpointTotalWeightAtBlock(uint32 blockNumber) external view returns (uint256);
        function getLastCheckpointThresholdWeightAtBlock(uint32 blockNumber) external view returns (uint256);
    }

    /// A contract that takes signed results.
    #[allow(missing_docs)]
    interface IWavsServiceHandler {
        function handleSignedEnvelope(SolEnvelope envelope, SolSignatureData signatureData) external;
        function getServiceManager() external view returns (address);
    }

    /// Every error of `validate`, over all known managers.
    #[derive(Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    interface ManagerErrors {
        error InsufficientQuorum(uint256 signerWeight, uint256 thresholdWeight, uint256 totalWeight);
        error InsufficientSignedStake();
        error InsufficientQuorumZero();
        error SignerNotRegistered();
        error InvalidSignature();
        error NotSorted();
        error InvalidSignatureOrder();
        error InvalidSignatureLength();
        error LengthMismatch();
        error InvalidLength();
        error InvalidSignatureBlock();
        error InvalidReferenceBlock();
        error InvalidSignedWeight();
        error InvalidQuorumParameters();
        error InvalidTriggerId(uint64 triggerId);
    }
}

/// Init code that returns `NUMBER`: `NUMBER PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN`. Called without a recipient it tells the
/// block number as contracts see it, which on some roll-ups is not the number that the RPC reports.
pub(super) const NUMBER_INIT_CODE: [u8; 9] = [0x43, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3];

/// The call data of `handleSignedEnvelope`, taken apart; `None` for anything else.
pub(super) fn decode_handler_call(input: &[u8]) -> Option<IWavsServiceHandler::handleSignedEnvelopeCall> {
    IWavsServiceHandler::handleSignedEnvelopeCall::abi_decode(input).ok()
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::{SolError, SolInterface};

    use super::*;

    #[test]
    fn selectors_are_those_of_deployed_contracts() {
        let calls: [(&str, [u8; 4], u32); 13] = [
            ("validate", IWavsServiceManager::validateCall::SELECTOR, 0xcd71_589e),
            (
                "getOperatorWeight",
                IWavsServiceManager::getOperatorWeightCall::SELECTOR,
                0x98ec_1ac9,
            ),
            (
                "latestOperator",
                IWavsServiceManager::getLatestOperatorForSigningKeyCall::SELECTOR,
                0xac7c_bfd9,
            ),
            (
                "getServiceURI",
                IWavsServiceManager::getServiceURICall::SELECTOR,
                0xcc92_2c6a,
            ),
            (
                "getStakeRegistry",
                IWavsServiceManager::getStakeRegistryCall::SELECTOR,
                0xbef4_c839,
            ),
            (
                "quorumNumerator",
                IWavsServiceManager::quorumNumeratorCall::SELECTOR,
                0xa771_3a70,
            ),
            (
                "quorumDenominator",
                IWavsServiceManager::quorumDenominatorCall::SELECTOR,
                0x97c3_d334,
            ),
            (
                "quorumAtBlock",
                IWavsServiceManager::getLastCheckpointQuorumAtBlockCall::SELECTOR,
                0xb00c_04e1,
            ),
            (
                "keyAtBlock",
                IStakeRegistry::getOperatorForSigningKeyAtBlockCall::SELECTOR,
                0x9750_a5b9,
            ),
            (
                "weightAtBlock",
                IStakeRegistry::getOperatorWeightAtBlockCall::SELECTOR,
                0x955f_2d90,
            ),
            (
                "totalAtBlock",
                IStakeRegistry::getLastCheckpointTotalWeightAtBlockCall::SELECTOR,
                0x0dba_3394,
            ),
            (
                "handle",
                IWavsServiceHandler::handleSignedEnvelopeCall::SELECTOR,
                0xf969_ff33,
            ),
            (
                "getServiceManager",
                IWavsServiceHandler::getServiceManagerCall::SELECTOR,
                0x4dda_0b43,
            ),
        ];
        for (name, selector, expect) in calls {
            assert_eq!(u32::from_be_bytes(selector), expect, "{name}");
        }
        let errors: [(&str, [u8; 4], u32); 15] = [
            (
                "InsufficientQuorum",
                ManagerErrors::InsufficientQuorum::SELECTOR,
                0x86b1_6091,
            ),
            (
                "InsufficientSignedStake",
                ManagerErrors::InsufficientSignedStake::SELECTOR,
                0xe121_632f,
            ),
            (
                "InsufficientQuorumZero",
                ManagerErrors::InsufficientQuorumZero::SELECTOR,
                0x2f41_f79b,
            ),
            (
                "SignerNotRegistered",
                ManagerErrors::SignerNotRegistered::SELECTOR,
                0x3dda_1739,
            ),
            (
                "InvalidSignature",
                ManagerErrors::InvalidSignature::SELECTOR,
                0x8baa_579f,
            ),
            ("NotSorted", ManagerErrors::NotSorted::SELECTOR, 0xba50_f911),
            (
                "InvalidSignatureOrder",
                ManagerErrors::InvalidSignatureOrder::SELECTOR,
                0x139f_3c92,
            ),
            (
                "InvalidSignatureLength",
                ManagerErrors::InvalidSignatureLength::SELECTOR,
                0x4be6_321b,
            ),
            ("LengthMismatch", ManagerErrors::LengthMismatch::SELECTOR, 0xff63_3a38),
            ("InvalidLength", ManagerErrors::InvalidLength::SELECTOR, 0x947d_5a84),
            (
                "InvalidSignatureBlock",
                ManagerErrors::InvalidSignatureBlock::SELECTOR,
                0x898d_eb1d,
            ),
            (
                "InvalidReferenceBlock",
                ManagerErrors::InvalidReferenceBlock::SELECTOR,
                0xe64f_180f,
            ),
            (
                "InvalidSignedWeight",
                ManagerErrors::InvalidSignedWeight::SELECTOR,
                0x960b_41ee,
            ),
            (
                "InvalidQuorumParameters",
                ManagerErrors::InvalidQuorumParameters::SELECTOR,
                0xcc0d_6871,
            ),
            (
                "InvalidTriggerId",
                ManagerErrors::InvalidTriggerId::SELECTOR,
                0x5dfb_0494,
            ),
        ];
        for (name, selector, expect) in errors {
            assert_eq!(u32::from_be_bytes(selector), expect, "{name}");
        }
        assert_eq!(ManagerErrors::ManagerErrorsErrors::COUNT, errors.len());
    }

    #[test]
    fn foreign_call_data_is_no_handler_call() {
        assert!(decode_handler_call(&[]).is_none());
        assert!(decode_handler_call(&[0xf9, 0x69, 0xff, 0x33, 1, 2, 3]).is_none());
    }
}
