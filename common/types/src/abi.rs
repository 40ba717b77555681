//! The Solidity structs and calls that carry signed results. They are the ABI of contracts that are already deployed, so
//! their names and order are frozen; the domain types convert into them.
#![allow(missing_docs, reason = "the macro generates items without documentation")]

alloy_sol_types::sol! {
    /// What operators sign.
    #[derive(Debug, PartialEq, Eq)]
    struct Envelope {
        bytes20 eventId;
        bytes12 ordering;
        bytes payload;
    }

    /// The signatures of a quorum, sorted by signer.
    #[derive(Debug, PartialEq, Eq)]
    struct SignatureData {
        address[] signers;
        bytes[] signatures;
        uint32 referenceBlock;
    }

    /// Entry point of a service handler contract.
    function handleSignedEnvelope(Envelope envelope, SignatureData signatureData);
}
