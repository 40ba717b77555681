//! Golden vectors of envelopes, signatures and the call that delivers them.

use alloy_primitives::keccak256;
use proptest::prelude::*;
use wavs_types::{
    CanonicalSignature, Envelope, EventId, EvmAddress, SignatureData, SignatureDataError, SignatureError, SignatureKind,
};

const SIGNERS: [&str; 3] = [
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
];
/// Over the first envelope with the EIP-191 prefix, by the three signers.
const SIGNATURES: [&str; 3] = [
    "3e522058d696b622236ef897194eb530765409a3a449a91e7dfeeec6ad3bab4b56569f1812ac5fad2fea6515591162362060a152b3ba821433cc9d62ab4863f51c",
    "ee830dd975c7b3769b2de7bdee0279c94034ec66826ff65606a8eae211cce5e964b351eb6abe8c7fdea6481972d67c0ff30ea066e4dbd752d2b839915ec8ad421b",
    "e2ae742db1ed75b5afbd58b1ac569bca8b31a030c6658ba13f4c51be15c2d5dd69078b46c859aec8d91e077f9ee02914e5b16684ab64b67eef41555d5b6b88971c",
];
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

fn envelope(ordering: Option<u64>, payload: &[u8]) -> Envelope {
    Envelope::new(EventId::new([1; 20]), ordering, payload.to_vec().into())
}

fn env_1() -> Envelope {
    envelope(None, &[1, 2, 3])
}

fn signature(hex_text: &str) -> CanonicalSignature {
    CanonicalSignature::canonicalise(&hex::decode(hex_text).unwrap()).unwrap()
}

#[test]
fn envelope_digests() {
    for (envelope, length, digest, eip191) in [
        (
            env_1(),
            192,
            "b85976350e6c9cfdba0254d1169aa905dba6c5374a00c74c011192447456a8d3",
            "1f5f9b0324e60c668fb214b50b7400086c97b667e648dd7a496af403a9280657",
        ),
        (
            envelope(Some(1), &[1, 2, 3]),
            192,
            "400e2844c00d20f685a7f009f6a115041418ddce7c17284f2b6a3d954e3e4d14",
            "5978aa4073be4b29aae03b4fdf0de5ec66566fd20383413935dc9dcdb3821c34",
        ),
        (
            envelope(None, &[]),
            160,
            "f9013002b2f7dd7d857bb50074ec6597970e1ae03e2418126abefece16b2a097",
            "09a29c302b6cf26869a1d1f1733c3f87eccade6fe327a258cd3db4372b5ded27",
        ),
        (
            envelope(None, &[0xee; 33]),
            224,
            "8f7b45ac1d5bffa8097ed9448b5c46d74a0516df275cf203829939813e8f5897",
            "a1227dd0fe95c398ab8934e0666adc9859b12431ae74dafedfd2ddf5baf608b7",
        ),
    ] {
        assert_eq!(envelope.abi_encode().len(), length);
        assert_eq!(hex::encode(envelope.signing_hash(SignatureKind::RAW)), digest);
        assert_eq!(hex::encode(envelope.signing_hash(SignatureKind::EIP191)), eip191);
    }
}

#[test]
fn envelope_words() {
    let word = |start: &str| format!("{start:0<64}");
    let number = |value: u8| format!("{value:064x}");
    let words = [
        number(0x20),
        word(&"01".repeat(20)),
        word(""),
        number(0x60),
        number(3),
        word("010203"),
    ];
    assert_eq!(hex::encode(env_1().abi_encode()), words.concat());
}

#[test]
fn ordering_is_big_endian_and_padded() {
    let json = serde_json::to_value(envelope(Some(0x0102_0304_0506_0708), &[])).unwrap();
    let expected = serde_json::json!({"eventId": format!("0x{}", "01".repeat(20)), "ordering": "0x010203040506070800000000", "payload": "0x"});
    assert_eq!(json, expected);
    assert_eq!(envelope(Some(0), &[]), envelope(None, &[]));
}

#[test]
fn signatures_recover_their_signers() {
    for (text, signer) in SIGNATURES.iter().zip(SIGNERS) {
        let recovered = signature(text)
            .recover(env_1().signing_hash(SignatureKind::EIP191))
            .unwrap();
        assert_eq!(recovered.to_string(), signer);
    }
    for (envelope, kind, text) in [
        (
            env_1(),
            SignatureKind::RAW,
            "c6466cdbbb19b61f2c6659c07ecefe4cfce925ebbc07b70a0cab36662e7fb50c19ef16f9d3e3bccd5500e0b80603a8ca46961ff59d040fe37973a260772b61621c",
        ),
        (
            envelope(Some(1), &[1, 2, 3]),
            SignatureKind::EIP191,
            "5ef6e305374b72d5dee5c8f4fa4d1b157cdbe79042eeeed90cf1bf5c282068a756c4ca3ecea55ffb43ae73969daf311b1241374e5f6925efd834a4fbac2688da1c",
        ),
        (
            envelope(Some(1), &[1, 2, 3]),
            SignatureKind::RAW,
            "4058ef6ff832f268bc15635162861944cc1ffe343b5df6add19981a9857da84f6a1b22eaffb91ddaefdc6e8eeeee8c65b488594730f161b31fc494e87d29cfc11c",
        ),
    ] {
        assert_eq!(
            signature(text)
                .recover(envelope.signing_hash(kind))
                .unwrap()
                .to_string(),
            SIGNERS[1]
        );
    }
}

/// The same signature with the other s, which every recovery accepts and every contract refuses.
fn high_s_twin(bytes: &[u8; 65]) -> [u8; 65] {
    use alloy_primitives::U256;
    let s = U256::from_str_radix(ORDER, 16).unwrap() - U256::from_be_slice(&bytes[32..64]);
    let mut twin = *bytes;
    twin[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    twin[64] = 55 - bytes[64];
    twin
}

#[test]
fn mangled_copies_are_the_same_signature() {
    let canonical = signature(SIGNATURES[1]);
    assert_eq!(hex::encode(canonical.as_bytes()), SIGNATURES[1]);
    let twin = high_s_twin(canonical.as_bytes());
    assert_eq!(CanonicalSignature::canonicalise(&twin), Ok(canonical));
    for v in [0, 27, 37] {
        let mut copy = *canonical.as_bytes();
        copy[64] = v;
        assert_eq!(CanonicalSignature::canonicalise(&copy), Ok(canonical), "v = {v}");
    }
}

#[test]
fn unusable_signatures_say_why() {
    let good = *signature(SIGNATURES[0]).as_bytes();
    let with = |range: std::ops::Range<usize>, value: &[u8]| {
        let mut bytes = good;
        bytes[range].copy_from_slice(value);
        CanonicalSignature::canonicalise(&bytes)
    };
    let order = hex::decode(ORDER).unwrap();
    assert_eq!(with(0..32, &[0; 32]), Err(SignatureError::Range { part: "r" }));
    assert_eq!(with(0..32, &order), Err(SignatureError::Range { part: "r" }));
    assert_eq!(with(32..64, &[0; 32]), Err(SignatureError::Range { part: "s" }));
    assert_eq!(with(32..64, &[0xff; 32]), Err(SignatureError::Range { part: "s" }));
    for v in [2, 26, 29, 34] {
        assert_eq!(with(64..65, &[v]), Err(SignatureError::RecoveryId { v }));
    }
    for length in [0, 64, 66] {
        assert_eq!(
            CanonicalSignature::canonicalise(&vec![1; length]),
            Err(SignatureError::Length { found: length })
        );
    }
}

#[test]
fn call_data_of_a_quorum() {
    let signatures = SIGNATURES.iter().map(|text| signature(text)).collect();
    let data = SignatureData::build(&env_1(), SignatureKind::EIP191, signatures, 12_345).unwrap();
    let order: Vec<_> = data.signers().iter().map(ToString::to_string).collect();
    assert_eq!(order, [SIGNERS[2], SIGNERS[1], SIGNERS[0]]);
    let call = data.handle_signed_envelope(&env_1());
    assert_eq!(call.len(), 964);
    assert_eq!(hex::encode(&call[..4]), "f969ff33");
    assert_eq!(
        hex::encode(keccak256(&call)),
        "29c059ce00891c8e074fcc5b96e8f7acdf03df99fbf719a8371732bc052a4386"
    );
}

#[test]
fn cosmos_contracts_take_the_same_pairs() {
    let data = SignatureData::build(&env_1(), SignatureKind::EIP191, vec![signature(SIGNATURES[1])], 7).unwrap();
    let json = serde_json::json!({"signers": [SIGNERS[1].to_lowercase()], "signatures": [SIGNATURES[1]], "reference_block": 7});
    assert_eq!(serde_json::to_value(&data).unwrap(), json);
}

#[test]
fn signature_data_is_refused_rather_than_bent() {
    let build = |signatures: &[&str], block| {
        SignatureData::build(
            &env_1(),
            SignatureKind::EIP191,
            signatures.iter().map(|text| signature(text)).collect(),
            block,
        )
    };
    let signer: EvmAddress = SIGNERS[0].parse().unwrap();
    assert_eq!(build(&[], 1), Err(SignatureDataError::Empty));
    assert_eq!(
        build(&[SIGNATURES[0], SIGNATURES[1], SIGNATURES[0]], 1),
        Err(SignatureDataError::DuplicateSigner { signer })
    );
    for block in [0, (1 << 32) - 1, (1 << 32) + 5] {
        assert_eq!(
            build(&SIGNATURES, block),
            Err(SignatureDataError::ReferenceBlock { block })
        );
    }
    for block in [1, (1 << 32) - 2] {
        assert!(build(&SIGNATURES, block).is_ok());
    }
}

proptest! {
    #[test]
    fn canonicalising_twice_changes_nothing(bytes in proptest::collection::vec(any::<u8>(), 65)) {
        if let Ok(once) = CanonicalSignature::canonicalise(&bytes) {
            prop_assert_eq!(CanonicalSignature::canonicalise(once.as_bytes()), Ok(once));
            prop_assert_eq!(CanonicalSignature::canonicalise(&high_s_twin(once.as_bytes())), Ok(once));
        }
    }

    #[test]
    fn envelopes_round_trip(event_id in any::<[u8; 20]>(), ordering in any::<Option<u64>>(), payload in proptest::collection::vec(any::<u8>(), 0..100)) {
        let envelope = Envelope::new(EventId::new(event_id), ordering, payload.into());
        let text = serde_json::to_string(&envelope).unwrap();
        prop_assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap(), envelope);
    }
}
