// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

/// @notice What operators sign: the hash of its ABI encoding, as an EIP-191 message.
struct Envelope {
    /// @dev Names one result of one service.
    bytes20 eventId;
    /// @dev Reserved; a big-endian uint64 in the first eight bytes.
    bytes12 ordering;
    /// @dev What the component returned.
    bytes payload;
}

/// @notice Who signed, as of which block.
struct SignatureData {
    /// @dev Strictly ascending.
    address[] signers;
    /// @dev 65 bytes each, in the order of the signers.
    bytes[] signatures;
    /// @dev Keys and weights count as of this block.
    uint32 referenceBlock;
}
