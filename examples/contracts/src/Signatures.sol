// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

import {Envelope} from "../interfaces/Envelope.sol";

/// @notice The hash that operators sign, and the check of one signature over it.
library Signatures {
    /// @dev Half the order of secp256k1. A greater s has a twin below that is as valid; only one of them counts.
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice The EIP-191 hash of an envelope.
    function digest(Envelope calldata envelope) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", keccak256(abi.encode(envelope))));
    }

    /// @notice Whether 65 bytes r, s, v are a canonical signature of the signer.
    function isValid(bytes32 hash, address signer, bytes calldata signature) internal pure returns (bool) {
        if (signature.length != 65) return false;
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > HALF_ORDER || (v != 27 && v != 28)) return false;
        return signer != address(0) && ecrecover(hash, v, r, s) == signer;
    }
}
